"""Every page, in a browser: for a screen reader, on a phone, in the dark; and no script of anybody's."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from axe_playwright_python.sync_playwright import Axe
from busy_desk import busy_desk
from chromium import browser, log_in, page
from pages_world import Pages, pages_running
from playwright.sync_api import Browser, Page
from running_desk import RunningDesk, quiet_desk

__all__ = ["browser", "page", "quiet_desk"]

SERIOUS = {"serious", "critical"}
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def sessions(quiet_desk: RunningDesk) -> Iterator[dict[str, UUID]]:
    with busy_desk(quiet_desk) as found:
        yield found


@pytest.fixture(scope="module")
def pages(quiet_desk: RunningDesk, sessions: dict[str, UUID]) -> Iterator[Pages]:
    with pages_running(quiet_desk) as found:
        yield found


@pytest.fixture(scope="module")
def addresses(sessions: dict[str, UUID]) -> list[str]:
    """Every page there is, and those of a session in each state that looks different."""
    trading, asking = sessions["trading"], sessions["asking"]
    tabs = (
        "",
        "/timeline",
        "/agents",
        "/rules",
        "/checkpoints",
        "/history",
        "/act/pause",
        "/act/stop",
        "/act/checkpoint",
    )
    return [
        "/sessions", "/sessions?text=nothing-like-it", "/sessions/health", "/sessions/events", "/sessions/day",
        "/sessions/halts/place", *(f"/sessions/{trading}{tab}" for tab in tabs), f"/sessions/{asking}",
        *(f"/sessions/{sessions[name]}" for name in ("paused", "suspended", "error", "closed", "halted")),
        f"/sessions/{sessions['paused']}/timeline", f"/sessions/{sessions['suspended']}/act/recover",
    ]  # fmt: skip


def serious(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{page.url}: {one['id']} ({one['help']}): {[node['html'][:120] for node in one['nodes']][:3]}"
        for one in found
        if one["impact"] in SERIOUS
    ]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_nothing_serious_to_say(browser: Browser, pages: Pages, addresses: list[str], scheme: str) -> None:
    """Of no page, in light and dark; and no page is wider than a phone."""
    context = browser.new_context(viewport=PHONE, color_scheme=scheme)
    page = context.new_page()
    log_in(page, pages, "admin")
    findings: list[str] = []
    for address in addresses:
        answer = page.goto(pages.url + address, wait_until="load")
        assert answer is not None
        findings += [] if answer.status == 200 else [f"{address}: {answer.status}"]
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        findings += [] if wide <= 0 else [f"{address} is {wide} px wider than a phone"]
        findings += serious(page)
    context.close()
    assert not findings, "\n".join(findings)


@pytest.mark.timeout(240)
def test_what_others_wrote_is_text_on_every_page(page: Page, pages: Pages, addresses: list[str]) -> None:
    """Names, reasons and descriptions with script in them run nowhere, and turn no line around."""
    log_in(page, pages, "admin")
    seen = False
    for address in addresses:
        page.goto(pages.url + address, wait_until="load")
        assert page.title() != "owned", address
        assert page.locator("main img").count() == 0, address
        text = page.locator("main").inner_text()
        assert "\u202e" not in text, address
        seen = seen or "<script>document.title" in text
    assert seen


def test_the_login_too(page: Page, pages: Pages) -> None:
    """Before anybody is in."""
    page.goto(f"{pages.url}/login")
    assert not serious(page)
