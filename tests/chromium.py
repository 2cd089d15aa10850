"""A real browser: Debian's chromium, driven by Playwright. CI must have it; elsewhere its tests say why they skip.

A test module imports `browser` and `page` from here.
"""

import os
import shutil
from collections.abc import Iterator

import pytest
from pages_world import Pages
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
# Nothing it does by itself may leave this machine.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module: as long as it is there, its event loop is this thread's."""
    if CHROMIUM is None:
        assert not os.environ.get("CI"), "CI installs chromium: .ci/run"
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a context of its own; whatever its scripts complain of fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    found = context.new_page()
    complaints: list[str] = []
    found.on("pageerror", lambda error: complaints.append(str(error)))
    found.on("console", lambda told: complaints.append(told.text) if "Content Security" in told.text else None)
    yield found
    context.close()
    assert not complaints, complaints


def log_in(page: Page, pages: Pages, *roles: str, path: str = "/sessions") -> None:
    """Log in as an operator would, and be at `path`."""
    page.goto(pages.url + path)
    page.get_by_label("Your token").fill(pages.token(*roles))
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(pages.url + path)


__all__ = ["browser", "log_in", "page"]
