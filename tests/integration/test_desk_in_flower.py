"""The pages of the desk over the wire: exports with their names, refusals, and events as they happen."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.request import Request
from uuid import uuid4

import pytest
from pages_world import Pages, Person, pages_running
from running_desk import RunningDesk, quiet_desk
from sqlalchemy import text

from fntx_sessions.database.engine import build_engine, transaction

__all__ = ["quiet_desk"]


@pytest.fixture(scope="module")
def pages(quiet_desk: RunningDesk) -> Iterator[Pages]:
    with pages_running(quiet_desk) as found:
        yield found


def told(pages: Pages, description: str) -> None:
    """Let something happen to no session in particular."""
    engine = build_engine(pages.desk.database_url, pages.desk.settings)
    with transaction(engine) as connection:
        connection.execute(
            text(
                "INSERT INTO events (event_id, session_id, event_type, event_category, severity, description) "
                "VALUES (gen_random_uuid(), gen_random_uuid(), 'noted', 'system', 'info', :description)"
            ),
            {"description": description},
        )
    engine.dispose()


def messages(person: Person, path: str) -> Iterator[dict[str, Any]]:
    """Yield what a live page is told."""
    request = Request(person.url + path, headers={"Accept": "text/event-stream"})  # noqa: S310 -- our own Flower
    with person._opener.open(request, timeout=30) as stream:
        for line in stream:
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))


def test_a_table_of_a_day_is_downloaded_by_its_name(pages: Pages) -> None:
    """As CSV in UTF-8; what cannot be is refused with what to give instead."""
    person = pages.somebody("viewer")
    answer = person.get("/sessions/day.csv?day=2026-01-05&table=trades")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/csv; charset=utf-8; header=present")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="day-2026-01-05-trades.csv"'
    assert answer.text.startswith("session_id,template_name,")
    for asked in ("table=money", "day=today", "pages=1"):
        refused = person.get(f"/sessions/day.csv?{asked}")
        assert (refused.status, asked.split("=")[0] in refused.text) == (400, True)


def test_the_whole_desk_is_for_those_who_may_see_all_of_it(pages: Pages) -> None:
    """A token for some sessions sees their events alone; nobody is sent to the login."""
    scoped = pages.somebody("operator", name="scoped", sessions=(str(uuid4()),))
    found = {path: scoped.get(f"/sessions/{path}").status for path in ("health", "day", "day.csv", "events")}
    assert found == {"health": 403, "day": 403, "day.csv": 403, "events": 200}
    assert pages.nobody().get("/sessions/day.csv").status == 302


def test_an_event_is_shown_as_it_happens(pages: Pages) -> None:
    """Who follows is told of it over the page's own connection, and of nothing before."""
    stream = messages(pages.somebody("viewer"), "/sessions/events")
    first = next(stream)
    assert set(first["parts"]) == {"events-form", "events-list", "redis-away"}
    told(pages, "it happened just now")
    assert "it happened just now" in next(news for news in stream if news["parts"])["parts"]["events-list"]


@pytest.mark.parametrize(("path", "part"), [("health", "health-checks"), ("day?day=2026-01-05", "day-total")])
def test_pages_of_the_desk_are_drawn_whole_and_live(pages: Pages, path: str, part: str) -> None:
    """As a page, and part by part for a browser that stays."""
    person = pages.somebody("viewer")
    answer = person.get(f"/sessions/{path}")
    assert (answer.status, f'id="{part}"' in answer.text) == (200, True), re.sub("<[^>]*>", "", answer.text)[-900:]
    first = next(messages(person, f"/sessions/{path}"))
    assert (first["problem"], part in first["parts"]) == (None, True)
