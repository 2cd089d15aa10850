"""The board in a browser."""

from collections.abc import Iterator

import pytest
from chromium import browser, log_in, page
from pages_world import Pages, pages_running
from playwright.sync_api import Page, expect
from running_desk import RunningDesk, desk, quiet_desk

__all__ = ["browser", "desk", "page", "quiet_desk"]


@pytest.fixture(scope="module")
def pages(desk: RunningDesk) -> Iterator[Pages]:
    with pages_running(desk) as found:
        yield found


def test_a_session_that_is_made_appears_without_reload(page: Page, pages: Pages) -> None:
    """The board is live."""
    log_in(page, pages, "admin")

    pages.ask(lambda manager: manager.create_session_from_template("Paper Trading"))
    expect(page.locator("#board")).to_contain_text("initializing")
