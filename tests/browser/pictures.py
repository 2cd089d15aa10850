"""The pictures of docs/images, taken of real pages: `make pictures`. Not a test: it is run by name."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from busy_desk import busy_desk
from chromium import browser, log_in
from pages_world import Pages, pages_running
from PIL import Image
from playwright.sync_api import Browser
from running_desk import RunningDesk, quiet_desk

__all__ = ["browser", "quiet_desk"]

IMAGES = Path(__file__).parents[2] / "docs" / "images"
DESK, PHONE = {"width": 1360, "height": 850}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def sessions(quiet_desk: RunningDesk) -> Iterator[dict[str, UUID]]:
    with busy_desk(quiet_desk) as found:
        yield found


@pytest.fixture(scope="module")
def pages(quiet_desk: RunningDesk, sessions: dict[str, UUID]) -> Iterator[Pages]:
    with pages_running(quiet_desk) as found:
        yield found


@pytest.mark.parametrize(
    ("name", "address", "viewport", "scheme"),
    [
        ("board", "/sessions", DESK, "light"),
        ("board-dark", "/sessions", DESK, "dark"),
        ("board-phone", "/sessions", PHONE, "light"),
        ("session", "/sessions/{trading}", DESK, "light"),
        ("session-phone", "/sessions/{trading}", PHONE, "dark"),
        ("rules", "/sessions/{trading}/rules", DESK, "light"),
        ("checkpoints", "/sessions/{trading}/checkpoints", DESK, "light"),
        ("act", "/sessions/{trading}/act/stop", DESK, "light"),
        ("health", "/sessions/health", DESK, "light"),
        ("events", "/sessions/events", DESK, "light"),
        ("day", "/sessions/day", DESK, "light"),
    ],
)
def test_take(browser: Browser, pages: Pages, sessions: dict[str, UUID], name, address, viewport, scheme) -> None:
    """One picture."""
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    page = context.new_page()
    if name != "login":
        log_in(page, pages, "admin")
    page.goto(pages.url + address.format(**sessions), wait_until="load")
    page.wait_for_timeout(800)
    path = IMAGES / f"{name}.png"
    page.screenshot(path=str(path), full_page=True)
    context.close()
    # A page has few colours: a third of the bytes, and nobody sees it.
    Image.open(path).quantize(128).save(path, optimize=True)
