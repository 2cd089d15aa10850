"""One session in a browser: its pages clicked through, its curve drawn and asked for anew, its timeline filtered."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from chromium import browser, log_in, page
from pages_world import Pages, pages_running
from playwright.sync_api import Locator, Page, expect
from running_desk import RunningDesk, desk, quiet_desk
from sqlalchemy import create_engine, text

__all__ = ["browser", "desk", "page", "quiet_desk"]
SAMPLES = 120


@pytest.fixture(scope="module")
def pages(desk: RunningDesk) -> Iterator[Pages]:
    # The first look of a new process on a machine that does much else takes its time.
    with pages_running(desk, FNTX_PAGES_PATIENCE_S="30") as found:
        yield found


def run(pages: Pages, statement: str, **values: Any) -> None:
    engine = create_engine(pages.desk.database_url)
    with engine.begin() as connection:
        connection.execute(text(statement), values)
    engine.dispose()


def sampled(pages: Pages, session_id: UUID, since: datetime, count: int) -> None:
    run(
        pages, "INSERT INTO samples (session_id, timestamp, epoch, net_pnl, exposure) SELECT :id, CAST(:since AS "
        "timestamptz) + n * interval '1 minute', 1, round((40 * sin(n / 9.0) + n / 3.0)::numeric, 2), "
        "CASE WHEN n % 60 > 15 THEN 26500 ELSE 0 END FROM generate_series(1, :count) n",
        id=session_id, since=since, count=count,
    )  # fmt: skip


@pytest.fixture(scope="module")
def session_id(pages: Pages) -> UUID:
    """A session that ran, was paused twice and has a curve of two hours."""

    async def made(manager: Any) -> UUID:
        found = await manager.create_session_from_template("Paper Trading")
        await manager.start_session(found.session_id)
        for _ in range(2):
            await manager.pause_session(found.session_id, reason="<b>lunch</b>")
            await manager.resume_session(found.session_id)
        await manager.pause_session(found.session_id, reason="done for now")
        return found.session_id

    found: UUID = pages.ask(made)
    sampled(pages, found, datetime.now(UTC) - timedelta(minutes=SAMPLES), SAMPLES)
    run(
        pages, "INSERT INTO events (event_id, session_id, timestamp, event_type, event_category, severity, "
        "description) "
        "SELECT gen_random_uuid(), :id, now() - n * interval '20 seconds', 'data_stale', 'market', "
        "CASE WHEN n % 40 = 0 THEN 'error' ELSE 'info' END, '<img src=x onerror=alert(1)> quote ' || n "
        "FROM generate_series(1, 450) n", id=found,
    )  # fmt: skip
    return found


def test_the_curve_is_drawn_with_its_marks_and_drawn_anew_when_something_happens(
    page: Page, pages: Pages, session_id: UUID
) -> None:
    """Both plots are there, point by point to be read by keyboard; a new sample comes in without reload."""
    log_in(page, pages, "admin", path=f"/sessions/{session_id}")
    curve = page.locator("[data-curve]")
    expect(curve).to_have_attribute("data-samples", re.compile(r"\d"))
    before = int(curve.get_attribute("data-samples") or 0)
    assert before >= SAMPLES
    expect(page.locator("#plot-net canvas")).to_have_count(1)
    expect(page.locator("#plot-exposure canvas")).to_have_count(1)
    page.locator("#plot-net").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#plot-readout")).to_contain_text("exposure $")
    page.get_by_text("What is marked, as a table").click()
    expect(page.locator("#plot-marks")).to_contain_text("done for now")

    sampled(pages, session_id, datetime.now(UTC), 1)
    pages.ask(lambda manager: manager.resume_session(session_id))

    expect(curve).to_have_attribute("data-samples", str(before + 1))
    expect(page.locator("#session-head .status")).to_have_text("active")
    expect(page.locator("#plot-marks")).to_be_visible()
    expect(page.locator(".diagram .node-here")).to_contain_text("active")


def stretch(curve: Locator) -> tuple[str | None, str | None]:
    return curve.get_attribute("data-from"), curve.get_attribute("data-until")


def test_what_somebody_chose_to_see_and_reads_stays_while_samples_come_in(
    page: Page, pages: Pages, session_id: UUID
) -> None:
    """The stretch, in both plots, and the point that is read, also in other colours; a double click shows all again."""
    log_in(page, pages, "viewer", path=f"/sessions/{session_id}")
    curve, net, readout = page.locator("[data-curve]"), page.locator("#plot-net"), page.locator("#plot-readout")
    expect(net.locator("canvas")).to_have_count(1)
    expect(page.get_by_label("Checkpoints")).to_be_checked()
    whole = stretch(curve)
    box = net.locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50, steps=3)
    page.mouse.up()
    expect(curve).not_to_have_attribute("data-until", str(whole[1]))
    page.mouse.move(5, 5)
    net.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    chosen, read = stretch(curve), readout.text_content()

    before = curve.get_attribute("data-samples")
    sampled(pages, session_id, datetime.now(UTC) + timedelta(minutes=5), 2)
    expect(curve).not_to_have_attribute("data-samples", str(before))
    assert (stretch(curve), readout.text_content()) == (chosen, read)
    page.evaluate("document.documentElement.dataset.bsTheme = 'dark'")
    expect(readout).to_have_text(str(read))
    assert stretch(curve) == chosen
    page.keyboard.press("ArrowLeft")
    expect(readout).not_to_have_text(str(read))
    page.mouse.dblclick(box["x"] + 100, box["y"] + 50)
    expect(curve).to_have_attribute("data-from", str(whole[0]))


def test_the_timeline_is_filtered_and_read_back(page: Page, pages: Pages, session_id: UUID) -> None:
    """From its tab, by words and severity, older and older, and what somebody wrote is text and nothing else."""
    log_in(page, pages, "viewer", path=f"/sessions/{session_id}")
    page.get_by_role("link", name="Timeline", exact=True).click()
    page.get_by_label("Severity at least").select_option("error")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#entries tbody tr")).to_have_count(11)
    expect(page.locator("#entries")).to_contain_text("<img src=x onerror=alert(1)> quote 40")
    page.get_by_role("link", name="All", exact=True).click()
    page.get_by_role("link", name="Older").click()
    page.get_by_role("link", name="Older").click()
    expect(page.locator("#entries")).to_contain_text("quote 450")
    expect(page.get_by_role("link", name="Older")).to_have_count(0)
    expect(page.locator("#entries img")).to_have_count(0)


def test_nothing_moves_while_the_page_comes_to_be(page: Page, pages: Pages, session_id: UUID) -> None:
    """The plots' room is kept from the first paint on."""
    log_in(page, pages, "viewer", path=f"/sessions/{session_id}")
    expect(page.locator("#plot-net canvas")).to_have_count(1)
    shifted = page.evaluate(
        "() => new Promise(done => { new PerformanceObserver(list => done(list.getEntries().reduce("
        "(sum, one) => sum + one.value, 0))).observe({type: 'layout-shift', buffered: true}); "
        "requestAnimationFrame(() => requestAnimationFrame(() => done(0))); })"
    )
    assert shifted < 0.05
