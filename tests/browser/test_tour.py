"""A day at the desk in a browser, on a stack as `fntx up` makes it: run a session, act, lose the stores, come back."""

import asyncio
import re
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from chromium import browser, page
from pages_world import Person
from playwright.sync_api import Page, expect
from worker_process import wait_until

from fntx_sessions import SessionLifecycleManager
from fntx_sessions.settings import Settings
from fntx_sessions.stack import Stack

__all__ = ["browser", "page"]

PATIENCE_MS = 60_000
OK = 200
TABS = {
    "Timeline": "timeline",
    "Agents": "agents",
    "Rules": "rules",
    "Checkpoints": "checkpoints",
    "History": "history",
}
# A day of which ten minutes pass in a tenth of a second, with a position that stays open over them.
PAPER = {
    "template_name": "Paper Trading",
    "overrides": {
        "config": {
            "feed": {"kind": "synthetic", "seed": 7, "trade_date": "2018-02-06", "step_s": 60},
            "step_interval_s": 0.2,
            "save_interval_s": 1,
        },
        "risk_parameters": {"take_profit_multiplier": 0.95, "stop_loss_multiplier": 10},
    },
}
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    home = Path(tempfile.mkdtemp(prefix="fntx-", dir="/tmp"))
    home.chmod(0o711)
    try:
        with Stack(home / "h", env={"FNTX_COMMAND_DEADLINE_S": "4"}) as made:
            yield made
    finally:
        shutil.rmtree(home)


def create(stack: Stack) -> str:
    """Have a session made by another service; a browser has this thread's event loop."""
    told = stack.environment()
    settings = Settings(
        home=Path(told["FNTX_HOME"]), database_url=told["FNTX_DATABASE_URL"], redis_url=told["FNTX_REDIS_URL"]
    )

    async def asked() -> str:
        async with SessionLifecycleManager(settings=settings) as manager:
            return str((await manager.create_session_from_template(**PAPER)).session_id)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, asked()).result()


def act(page: Page, session: str, action: str, button: str, reason: str) -> None:
    """Do what an operator does: from the session's page to the action's, a reason, and send."""
    page.get_by_role("link", name=button, exact=True).first.click()
    page.wait_for_url(f"**/sessions/{session}/act/{action}")
    page.get_by_label("Reason").fill(reason)
    page.get_by_role("button", name=button).click()


@pytest.mark.timeout(300)
def test_a_day_at_the_desk(page: Page, stack: Stack) -> None:
    """Every page shows what happens as it happens; what cannot be done says so; all goes on by itself afterwards."""
    site = (stack.addresses().flower or "").rstrip("/")
    session = create(stack)
    page.goto(f"{site}/sessions")
    log_in(page, stack)
    expect(page.locator(f"#row-{session}")).to_contain_text("initializing")
    page.locator(f"#row-{session}").get_by_role("link", name=session[:8]).first.click()
    act(page, session, "start", "Start", "the day begins")
    expect(page.locator("#act-ended")).to_contain_text("active")
    page.get_by_role("link", name="Back to the session").click()
    expect(page.locator("canvas").first).to_be_visible()
    look_around(page, f"{site}/sessions/{session}")
    pause(page, site, session)
    lose_redis(page, stack, f"{site}/sessions/{session}", session)
    lose_postgres(page, stack, site, session)
    lose_flower(page, stack, site)
    page.goto(f"{site}/sessions/{session}")
    act(page, session, "stop", "Stop", "the day is over")
    page.goto(f"{site}/sessions/{session}")
    expect(page.locator("main")).to_contain_text("closed")
    expect(page.locator("#trouble")).to_be_hidden()


def log_in(page: Page, stack: Stack) -> None:
    page.get_by_label("Your token").fill((stack.folder.home / "keys" / "admin.token").read_text().strip())
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Sessions")).to_be_visible()


def look_around(page: Page, home: str) -> None:
    """Click through every page: each is drawn, and live."""
    for name, path in TABS.items():
        page.locator("main").get_by_role("link", name=name, exact=True).first.click()
        page.wait_for_url(f"{home}/{path}")
        expect(page.locator("#trouble")).to_be_hidden()
    for name in ("Health", "Events", "The day"):
        page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(name)
        expect(page.locator("#trouble")).to_be_hidden()


def pause(page: Page, site: str, session: str) -> None:
    """What a person wrote is text, and on the board at once."""
    page.goto(f"{site}/sessions/{session}")
    act(page, session, "pause", "Pause", "lunch <b>break</b>")
    expect(page.locator("#act-ended")).to_contain_text("lunch <b>break</b>")
    page.goto(f"{site}/sessions")
    expect(page.locator(f"#row-{session}")).to_contain_text("paused")
    expect(page.locator(f"#row-{session}")).to_contain_text("lunch <b>break</b>")


@contextmanager
def frozen(stack: Stack, name: str) -> Iterator[None]:
    """Hold a store still, with all processes of its own: none answers, none goes away."""
    first = psutil.Process(stack.processes()[name].pid)
    everyone = [first, *first.children(recursive=True)]
    for one in everyone:
        one.suspend()
    try:
        yield
    finally:
        for one in everyone:
            one.resume()


def lose_redis(page: Page, stack: Stack, home: str, session: str) -> None:
    """Pages stand; a command is told not to have been sent, or not to be known; the next one is done."""
    with frozen(stack, "valkey"):
        page.goto(home)
        expect(page.locator("main")).to_contain_text("paused")
        act(page, session, "checkpoint", "Checkpoint", "before the afternoon")
        expect(page.locator("main")).to_contain_text(re.compile("Redis|not known|unknown", re.IGNORECASE))
    page.goto(home)
    act(page, session, "resume", "Resume", "after lunch")
    expect(page.locator("#act-ended")).to_contain_text("active")


def lose_postgres(page: Page, stack: Stack, site: str, session: str) -> None:
    """The board shows what it knew last and how old that is, and goes on without a reload."""
    page.goto(f"{site}/sessions")
    expect(page.locator(f"#row-{session}")).to_contain_text("active")
    with frozen(stack, "postgres"):
        expect(page.locator("#trouble")).to_contain_text("no answer")
        expect(page.locator("#trouble")).to_contain_text(re.compile(r"Shown as it was \d+ s ago"))
        expect(page.locator(f"#row-{session}")).to_contain_text("active")
    expect(page.locator("#trouble")).to_be_hidden()


def lose_flower(page: Page, stack: Stack, site: str) -> None:
    """The page says so by itself; when Flower is back, it says that one logs in again, and leads there."""
    page.goto(f"{site}/sessions")
    stack.kill("flower")
    expect(page.locator("#trouble")).to_contain_text("Flower does not answer")
    wait_until(lambda: _listens(site), "Flower is back")
    page.get_by_role("link", name="Log in again").click()
    log_in(page, stack)


def _listens(site: str) -> bool:
    try:
        return Person(site).get("/healthcheck").status == OK
    except OSError:
        return False
