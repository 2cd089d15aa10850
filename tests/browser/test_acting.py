"""Acting in a browser: what is typed stays while the page is live, and the outcome comes without a reload."""

import re
from collections.abc import Iterator

import pytest
from chromium import browser, log_in, page
from hosting import Hosting, T, make_hosting
from pages_world import Pages, pages_running
from playwright.sync_api import Page, expect
from running_desk import RunningDesk, frozen, quiet_desk

__all__ = ["browser", "page", "quiet_desk"]


@pytest.fixture(scope="module")
def hosting(quiet_desk: RunningDesk) -> Iterator[Hosting]:
    with make_hosting(quiet_desk.settings) as made:
        yield made


@pytest.fixture(scope="module")
def worker(quiet_desk: RunningDesk) -> Iterator[object]:
    with quiet_desk.worker() as process:
        yield process


@pytest.fixture(scope="module")
def pages(quiet_desk: RunningDesk, worker: object) -> Iterator[Pages]:
    with pages_running(quiet_desk, FNTX_PAGES_ACT_WAIT_S="0.3", FNTX_COMMAND_DEADLINE_S="2") as found:
        yield found


def test_what_others_do_is_seen_while_one_types(page: Page, pages: Pages, hosting: Hosting) -> None:
    """The facts and what would be refused are live; the reason typed so far stays."""
    session_id = hosting.started()
    log_in(page, pages, "operator", path=f"/sessions/{session_id}/act/pause")
    reason, send = page.get_by_label("Reason"), page.get_by_role("button", name="Pause")
    reason.fill("headlines, half a sen")
    expect(send).to_be_enabled()

    hosting.do(T.PAUSE, session_id, reason="somebody was quicker")
    expect(page.locator("#act-shown")).to_contain_text("This would be refused now.")
    expect(page.locator("#act-shown")).to_contain_text("somebody was quicker")
    expect(send).to_be_disabled()
    expect(reason).to_have_value("headlines, half a sen")

    hosting.do(T.RESUME, session_id)
    expect(send).to_be_enabled()
    reason.press("End")
    reason.type("tence")
    send.click()
    expect(page.locator("#act-ended")).to_contain_text("The session is paused")
    assert hosting.row(session_id)["status_reason"] == "headlines, half a sentence"


def test_a_command_under_way_shows_its_end_by_itself(
    page: Page, pages: Pages, hosting: Hosting, worker: object
) -> None:
    """While no worker answers it is under way, then not known; then it is done; loaded again, nothing more is."""
    session_id = hosting.started()
    log_in(page, pages, "operator", path=f"/sessions/{session_id}/act/stop")
    page.get_by_label("Close them").check()
    page.get_by_label("Reason").fill("enough for today")
    ended = page.locator("#act-ended")
    with frozen(worker):
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(ended).to_contain_text("Under way.")
        expect(ended).to_contain_text("Not known: nobody answered.", timeout=10_000)
        expect(ended).to_contain_text("active")
    # The worker has it by now, and the page sees that by itself.
    expect(ended).to_contain_text("The session is closing", timeout=10_000)
    hosting.finish()
    expect(ended).to_contain_text(re.compile("The session now\\s*closed"))
    version = hosting.row(session_id)["version"]
    page.reload()
    expect(ended).to_contain_text("Done.")
    assert hosting.row(session_id)["version"] == version


def test_by_keyboard_alone(page: Page, pages: Pages, hosting: Hosting) -> None:
    """From a session's own page to the outcome."""
    session_id = hosting.started()
    hosting.step()
    log_in(page, pages, "operator", path=f"/sessions/{session_id}")
    page.get_by_role("link", name="Checkpoint", exact=True).press("Enter")
    page.get_by_label("Note").press("Tab")
    page.keyboard.type("before lunch")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#act-ended")).to_contain_text("Done.")
