"""The other door: a process that can import celery, redis and what these need, and nothing else, drives a session."""

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from running_desk import RunningDesk, desk, quiet_desk

__all__ = ["desk", "quiet_desk"]

pytestmark = pytest.mark.timeout(120)
PAGE = Path(__file__).parents[2] / "docs" / "integration.md"
# Refuses every import from outside the standard library but of the packages it is told of.
GUARD = """
import sys
allowed = set(sys.argv[1].split(","))
class Guard:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in allowed or top in sys.stdlib_module_names or top.startswith("_sysconfigdata"):
            return None
        raise ModuleNotFoundError(f"not installed here: {name}", name=name)
sys.meta_path.insert(0, Guard())
try:
    import fntx_sessions
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the guard lets our package through")
"""


def needed(*names: str) -> set[str]:
    """Return the top-level modules of packages and of all they need."""
    known, open_ = set[str](), [Requirement(name) for name in names]
    while open_:
        wanted = open_.pop()
        if wanted.name.lower() in known:
            continue
        try:
            found = distribution(wanted.name)
        except PackageNotFoundError:
            continue
        known.add(wanted.name.lower())
        told = [Requirement(line) for line in found.requires or ()]
        open_ += [one for one in told if one.marker is None or _wants(one, wanted.extras)]
    modules = {name.replace("-", "_") for name in known}
    return modules | {"dateutil", "six", "hiredis", "_distutils_hack"}


def _wants(told: Requirement, extras: set[str]) -> bool:
    return any(told.marker.evaluate({"extra": extra}) for extra in [*extras, ""])


def test_the_sequence_of_the_page_runs_with_celery_and_redis_alone(desk: RunningDesk) -> None:
    """As it stands there: create, start, pause, resume, ask, a refusal in words, stop."""
    title = "### A session from beginning to end"
    code = re.search(r"```python\n(.*?)```", PAGE.read_text().partition(title)[2], re.DOTALL)[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FNTX_", "PYTHON"))}
    found = subprocess.run(
        [sys.executable, "-c", GUARD + code, ",".join(sorted(needed("celery[redis]", "redis")))],
        env=environment | {"REDIS_URL": desk.redis_url}, cwd=desk.folder,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    refusal, last = found.stdout.splitlines()
    assert "active" in refusal
    assert last == "closing 0"
    assert "Traceback" not in found.stderr
