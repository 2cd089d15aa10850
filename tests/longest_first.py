"""Files that take long are begun first: begun last, one of them would keep every other process waiting for its end."""

from pathlib import Path

import pytest

# Longest first, as `pytest --durations=0` told; what is not named follows in random order.
LONGEST = (
    "integration/test_stack.py", "faults/test_beats.py", "faults/test_halt_faults.py", "browser/test_tour.py",
    "faults/test_worker_takeover.py", "faults/test_every_write_killed.py", "integration/test_canary.py",
    "acceptance/test_demo.py", "browser/test_every_page.py", "faults/test_manager_faults.py",
    "browser/test_live_board.py", "browser/test_session_in_browser.py", "integration/test_bare_desk.py",
    "browser/test_acting.py", "faults/test_people_kills.py", "integration/test_forged_messages.py",
    "faults/test_host_kills.py", "acceptance/test_remote_agents.py", "integration/test_partitions.py",
    "integration/test_manager_crowds.py", "integration/test_page_actions.py", "integration/test_host.py",
    "integration/test_archive.py", "faults/test_guard_takeover.py", "faults/test_hanging_agent.py",
    "faults/test_broker_loss.py",
)  # fmt: skip
TESTS = Path(__file__).parent
_PLACES = {TESTS / name: place for place, name in enumerate(LONGEST)}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the named files in front; all others, and tests within a file, stay as they were shuffled."""
    items.sort(key=lambda item: _PLACES.get(item.path, len(_PLACES)))
