"""Every page, in a browser: for a screen reader, on a phone, in the dark; and no script of anybody's."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from axe_playwright_python.sync_playwright import Axe
from busy_desk import busy_desk
from chromium import browser, log_in, page
from pages_world import Pages, pages_running
from playwright.sync_api import Browser, Page, expect
from running_desk import RunningDesk, quiet_desk

__all__ = ["browser", "page", "quiet_desk"]

SERIOUS = {"serious", "critical"}
OK = 200
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def sessions(quiet_desk: RunningDesk) -> Iterator[dict[str, UUID]]:
    with busy_desk(quiet_desk) as found:
        yield found


@pytest.fixture(scope="module")
def pages(quiet_desk: RunningDesk, sessions: dict[str, UUID]) -> Iterator[Pages]:
    # They are looked at, not waited for: that they are live is told elsewhere.
    with pages_running(quiet_desk, FNTX_PAGES_REFRESH_S="5") as found:
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
def test_every_page_reads_well_and_runs_nothing_of_others(browser: Browser, pages: Pages, addresses: list[str]) -> None:
    """Axe has nothing serious to say, none is wider than a phone, and script in what others wrote is text."""
    found = look_at(browser, pages, addresses, "light")
    assert not found.findings, "\n".join(found.findings)
    assert found.script_seen


@pytest.mark.timeout(240)
def test_in_the_dark_too(browser: Browser, pages: Pages, sessions: dict[str, UUID]) -> None:
    """One page of each kind."""
    trading = f"/sessions/{sessions['trading']}"
    kinds = ["/sessions", "/sessions/health", "/sessions/events", "/sessions/day", trading, f"{trading}/act/stop"]
    found = look_at(browser, pages, [*kinds, f"{trading}/rules"], "dark")
    assert not found.findings, "\n".join(found.findings)


@dataclass
class Found:
    """What was found on pages."""

    findings: list[str] = field(default_factory=list)
    script_seen: bool = False


def look_at(browser: Browser, pages: Pages, addresses: list[str], scheme: str) -> Found:
    context = browser.new_context(viewport=PHONE, color_scheme=scheme)
    page, found = context.new_page(), Found()
    log_in(page, pages, "admin")
    for address in addresses:
        answer = page.goto(pages.url + address, wait_until="load")
        text = page.locator("main").inner_text()
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        wrong = {
            f"answered {answer and answer.status}": answer is None or answer.status != OK,
            f"is {wide} px wider than a phone": wide > 0,
            "ran a script of somebody's": page.title() == "owned" or page.locator("main img").count(),
            "turns a line around": "\u202e" in text,
        }
        found.findings += [f"{address} {what}" for what, is_so in wrong.items() if is_so] + serious(page)
        found.script_seen = found.script_seen or "<script>document.title" in text
    context.close()
    return found


def test_the_login_too(page: Page, pages: Pages) -> None:
    """Before anybody is in."""
    page.goto(f"{pages.url}/login")
    assert not serious(page)


def test_flowers_own_pages_run_their_scripts(page: Page, pages: Pages) -> None:
    """None of them is kept from what it runs, and the page of workers, which looks live, is."""
    log_in(page, pages, "admin", path="/workers")
    updated = page.get_by_text(re.compile("^Updated "))
    expect(updated).to_be_visible()
    shown = updated.inner_text()
    expect(updated).not_to_have_text(shown)
    for path in ("/", "/tasks", "/broker"):
        answer = page.goto(pages.url + path, wait_until="load")
        assert answer is not None, path
        assert answer.status == OK, path
