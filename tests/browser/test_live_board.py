"""The board in a browser: live, filtered, sorted, by keyboard, on a phone, with saved links."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from chromium import browser, log_in, page
from pages_world import Pages, pages_running
from playwright.sync_api import Locator, Page, expect
from running_desk import RunningDesk, desk, quiet_desk
from worker_process import raw_app, wait_until

__all__ = ["browser", "desk", "page", "quiet_desk"]


@pytest.fixture(scope="module")
def pages(desk: RunningDesk) -> Iterator[Pages]:
    with pages_running(desk) as found:
        # Each test begins with a board that is there, however slowly this machine starts.
        looker = found.somebody("viewer")
        wait_until(lambda: looker.get("/sessions").status == 200, "the board is drawn")
        yield found


def made(pages: Pages, **asked: Any) -> str:
    """Create a session and return its id."""
    outcome = pages.ask(lambda manager: manager.create_session_from_template("Paper Trading", **asked))
    return str(outcome.session_id)


def row(page: Page, session_id: str) -> Locator:
    return page.locator(f"#row-{session_id}")


def test_the_board_is_live(page: Page, pages: Pages) -> None:
    """A session that is made appears, and moves on, without reload; where one reads, the page stays."""
    log_in(page, pages, "admin")
    session_id = made(pages)
    expect(row(page, session_id)).to_contain_text("initializing")
    link = row(page, session_id).get_by_role("link", name=session_id[:8], exact=True)
    link.focus()
    pages.ask(lambda manager: manager.start_session(session_id, reason="open"))
    expect(row(page, session_id)).to_contain_text("active")
    expect(row(page, session_id)).to_contain_text(re.compile("by .*: open"))
    expect(link).to_be_focused()
    expect(page.locator("#board-counts [href*=active]")).to_contain_text(re.compile("Active [1-9]"))


def test_a_page_whose_login_ended_leads_back_in_and_goes_on_by_itself(page: Page, pages: Pages) -> None:
    """It says so, however often it asks, and is live again once one has logged in, in whichever tab."""
    log_in(page, pages, "viewer", path="/sessions?status=error")
    expect(page.locator("#trouble")).to_be_hidden()
    other = page.context.new_page()
    other.goto(pages.url + "/logout")
    with page.expect_response(lambda answer: answer.request.resource_type == "eventsource") as asked:
        expect(page.locator("#trouble")).to_contain_text("Your login has ended: log in again.")
    assert asked.value.status == 200
    log_in(other, pages, "viewer")
    expect(page.locator("#trouble")).to_be_hidden()
    other.goto(pages.url + "/logout")
    page.get_by_role("link", name="Log in again").click()
    page.get_by_label("Your token").fill(pages.token("viewer"))
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(pages.url + "/sessions?status=error")


def test_more_windows_than_a_browser_has_connections_are_all_live(page: Page, pages: Pages) -> None:
    """Seven that are seen at once: each of them loads, follows what happens, and leads on."""
    log_in(page, pages, "viewer")
    windows = [page, *(page.context.new_page() for _ in range(6))]
    for window in windows[1:]:
        window.goto(pages.url + "/sessions", timeout=10_000)
    session_id = made(pages)
    for window in windows:
        expect(row(window, session_id)).to_be_visible()
        expect(window.locator("#trouble")).to_be_hidden()
    windows[0].get_by_role("link", name="Health").first.click()
    windows[0].wait_for_url(pages.url + "/sessions/health", timeout=10_000)


def test_filters_search_and_sorting_are_addresses(page: Page, pages: Pages) -> None:
    """By keyboard alone; what is asked for can be sent to somebody else."""
    first, second = made(pages), made(pages)
    log_in(page, pages, "viewer")
    page.get_by_label("Search").fill(first)
    page.keyboard.press("Enter")
    expect(page.locator("#board-rows tr")).to_have_count(1)
    expect(row(page, first)).to_be_visible()
    assert f"text={first}" in page.url
    page.get_by_role("link", name="Drawdown").press("Enter")
    expect(page.get_by_role("columnheader", name="Drawdown")).to_have_attribute("aria-sort", "ascending")
    expect(page.locator("#board-rows tr")).to_have_count(1)
    page.get_by_role("link", name=re.compile("^Error")).click()
    expect(page.locator("#board-rows")).to_contain_text("No session passes this filter.")
    page.get_by_role("link", name="Clear").click()
    expect(row(page, second)).to_be_visible()


def test_links_are_kept_in_the_browser(page: Page, pages: Pages) -> None:
    """Under a name, over a reload, until they are forgotten; a name is text."""
    log_in(page, pages, "viewer")
    page.goto(pages.url + "/sessions?status=error&sort=pnl")
    page.get_by_label("Keep this view as").fill("<b>Mine</b>")
    page.get_by_role("button", name="Keep").click()
    page.goto(pages.url + "/sessions")
    page.get_by_role("link", name="<b>Mine</b>").click()
    page.wait_for_url(re.compile("status=error&sort=pnl"))
    page.get_by_role("button", name="Forget <b>Mine</b>").click()
    expect(page.get_by_role("link", name="<b>Mine</b>")).to_have_count(0)


def test_nothing_moves_while_figures_do(page: Page, pages: Pages) -> None:
    """Neither at the first paint nor where a row says more than before: a session that starts moves no other row."""
    session_id = made(pages)
    log_in(page, pages, "operator")
    page.goto(f"{pages.url}/sessions?sort=created")
    page.evaluate(_WATCH_SHIFTS)
    pages.ask(lambda manager: manager.start_session(session_id, reason="open"))
    expect(row(page, session_id)).to_contain_text("active")
    expect(row(page, session_id).locator("meter")).not_to_have_count(0)
    assert page.evaluate("window.shifted") < 0.001


def test_rows_wait_while_somebody_is_among_them(page: Page, pages: Pages) -> None:
    """What stands there changes in its place; what is new comes when the pointer leaves, or at a click."""
    first = made(pages)
    log_in(page, pages, "operator")
    page.goto(f"{pages.url}/sessions?sort=created")
    expect(row(page, first)).to_be_visible()
    page.evaluate(_WATCH_SHIFTS)
    row(page, first).hover()
    row(page, first).hover(position={"x": 9, "y": 9})
    second = made(pages)
    expect(page.locator("#board-held")).to_contain_text("1 new")
    expect(row(page, second)).to_have_count(0)
    pages.ask(lambda manager: manager.start_session(first, reason="open"))
    expect(row(page, first)).to_contain_text("active")
    pages.ask(lambda manager: manager.start_session(second, reason="later"))
    assert page.evaluate("window.shifted") < 0.001
    page.mouse.move(2, 2)
    expect(row(page, second)).to_contain_text("active")
    expect(row(page, second)).to_contain_text("later")
    expect(page.locator("#board-held")).not_to_be_visible()


def test_every_column_is_in_sight_at_any_width(page: Page, pages: Pages) -> None:
    """A table where it fits, cards where it does not: nothing that one may do is beyond an edge."""
    session_id = made(pages)
    log_in(page, pages, "operator")
    for width in (800, 1000, 1150, 1300):
        page.set_viewport_size({"width": width, "height": 800})
        box = row(page, session_id).get_by_role("link", name="Start").bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= width
        assert page.evaluate("(board => board.scrollWidth - board.clientWidth)(document.getElementById('board'))") <= 0


_WATCH_SHIFTS = """() => {
  window.shifted = 0;
  new PerformanceObserver(function (list) {
    list.getEntries().forEach(function (one) { window.shifted += one.value; });
  }).observe({ type: "layout-shift", buffered: true });
}"""


def test_a_phone_shows_cards(page: Page, pages: Pages) -> None:
    """Nothing reaches over the edge of 360 pixels, and each figure says what it is."""
    session_id = made(pages)
    page.set_viewport_size({"width": 360, "height": 740})
    log_in(page, pages, "operator")
    expect(row(page, session_id)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    pnl = row(page, session_id).locator("[data-label='P&L today']")
    assert "P&L today" in pnl.evaluate("cell => getComputedStyle(cell, '::before').content")
    box = pnl.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 360


def test_others_ask_for_the_same_rows(pages: Pages) -> None:
    """`fntx.sessions.board` is one question for what the page shows."""
    session_id = made(pages)
    asked = raw_app(pages.desk.redis_url).send_task(
        "fntx.sessions.board", kwargs={"session_id": session_id, "limit": 5}, queue="queries"
    )
    answer = asked.get(timeout=30)
    [found] = answer["result"]["rows"]
    assert (found["session_id"], found["status"]) == (session_id, "initializing")
    assert answer["result"]["total"] == 1
