"""The pages of the whole desk: its health, with anything down, and its events."""

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID, uuid4

import pytest
from drawing import drawn
from hosting import Hosting, make_hosting, shared
from pydantic import SecretStr
from worker_process import wait_until

from fntx_sessions.automation import alerts, hosts
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.monitoring.flower import health as health_page
from fntx_sessions.monitoring.flower.desk_events import DeskEvents
from fntx_sessions.monitoring.flower.health import SECTIONS, Health
from fntx_sessions.monitoring.flower.health_looks import Looks
from fntx_sessions.monitoring.flower.views import Part
from fntx_sessions.monitoring.flower.who import Viewer
from fntx_sessions.schemas import Severity
from fntx_sessions.security.actor import Actor
from fntx_sessions.settings import Settings
from fntx_sessions.stack.desk_checks import DeskFacts
from fntx_sessions.stack.desk_health import read_desk

RISK = Viewer(Actor("rita", frozenset({"risk_manager"})), "token")
OPERATOR = Viewer(Actor("olaf", frozenset({"operator"})), "token")
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made.with_settings(pages_health_s=1e-6)
        made.run(
            "DELETE FROM alerts; UPDATE halts SET released_at = now(), released_by = 'ann' WHERE released_at IS NULL"
        )


def health(page: Health, hosting: Hosting, viewer: Viewer | None = None) -> dict[str, str]:
    parts = drawn(page, hosting.desk, viewer=viewer)
    assert list(parts) == [f"health-{name}" for name in SECTIONS]
    return {name.removeprefix("health-"): part.html for name, part in parts.items()}


def lost(hosting: Hosting, **urls: str) -> Hosting:
    """The same desk, with stores where nobody answers."""
    return hosting.with_settings(**{name: SecretStr(url) for name, url in urls.items()})


def trouble(hosting: Hosting) -> str:
    """A session nobody saves, a worker, an alert and a halt whose words are script; return the session's id."""
    session_id = hosting.started()
    hosting.run("UPDATE session_work SET next_save_at = now() - interval '1 h' WHERE session_id = :id", id=session_id)
    hosts.renew(hosting.desk.engine, hosting.desk.settings, "h1", "agents,sweeps", {"memory_bytes": 3_000_000_000})
    alerts.raise_alert(hosting.desk.engine, "disk", EVIL, Severity.ERROR, EVIL)
    hosting.run(
        "INSERT INTO halts (halt_id, scope, reason, actor) VALUES (gen_random_uuid(), 'all', :why, 'ann')", why=EVIL
    )
    return str(session_id)


def test_health_tells_what_is_wrong_and_where(hosting: Hosting) -> None:
    """Checks worst first, overdue sessions by name, workers, queues with who reads them, halts, alerts; escaped."""
    session_id = trouble(hosting)
    found = health(Health(), hosting)
    assert found["checks"].index("severity-failed") < found["checks"].index("severity-ok")
    assert f"/sessions/{session_id}" in found["clock"]
    assert "3,000 MB" in found["workers"]
    assert found["queues"].count('<td class="num">1</td>') == 2  # agents and sweeps have one reader each
    assert "&lt;script&gt;" in found["halts"]
    assert "&lt;script&gt;" in found["alerts"]
    assert EVIL not in "".join(found.values())


def test_halts_are_placed_and_released_by_whose_role_it_is(hosting: Hosting) -> None:
    """A risk manager is led to both, an operator to placing one, those who look to neither."""
    trouble(hosting)
    page = Health()
    links = {name: health(page, hosting, who)["halts"] for name, who in (("risk", RISK), ("op", OPERATOR), ("", None))}
    assert ("/release" in links["risk"], "/halts/place" in links["risk"]) == (True, True)
    assert ("/release" in links["op"], "/halts/place" in links["op"]) == (False, True)
    assert "href" not in links[""]


def test_health_without_postgres_keeps_what_it_said_last(hosting: Hosting) -> None:
    """The checks are of now; what only Postgres knows stands with its age; back again, it is of now by itself."""
    session_id = trouble(hosting)
    page = Health()
    health(page, hosting)
    away = health(page, lost(hosting, database_url="postgresql://127.0.0.1:1/nothing"))
    assert "No command is taken" in away["checks"]
    assert f"/sessions/{session_id}" in away["clock"]
    for name in ("sessions", "halts", "alerts", "clock", "workers", "tiers"):
        assert "Postgres is out of reach: as it was" in away[name]
    assert "out of reach" not in away["queues"]
    assert "out of reach" not in health(page, hosting)["clock"]


def test_health_without_redis_keeps_what_it_said_last(hosting: Hosting) -> None:
    """Queues stand with their age; the rest is of now."""
    page = Health()
    health(page, hosting)
    away = health(page, lost(hosting, redis_url="redis://127.0.0.1:1"))
    assert "Redis is out of reach: as it was" in away["queues"]
    assert "commands" in away["queues"]
    assert "out of reach" not in away["clock"]


def test_health_that_never_saw_a_store_says_so(hosting: Hosting) -> None:
    """Nothing is invented: no zeros, no empty lists that look like good news."""
    nowhere = lost(hosting, database_url="postgresql://127.0.0.1:1/nothing", redis_url="redis://127.0.0.1:1")
    found = health(Health(), nowhere)
    for name in ("sessions", "halts", "alerts", "clock", "workers", "tiers", "queues"):
        assert "was not seen since Flower started" in found[name]
        assert "None" not in found[name]
        assert "0 failed" not in found[name]


def test_those_who_look_at_health_share_one_look(hosting: Hosting) -> None:
    """However many watch, and whatever their roles, the desk is looked at once in `pages_health_s`."""
    patient, page = hosting.with_settings(pages_health_s=3600.0), Health()
    first = health(page, patient)
    trouble(hosting)
    assert health(page, patient, RISK)["checks"] == first["checks"]


def later(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_a_store_that_hangs_leaves_the_last_look_on_the_page(hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its age, and not waited for; an old one is said to be one; once it answers, the page is of now."""
    hangs, answers = threading.Event(), threading.Event()

    def read(settings: Settings) -> DeskFacts:
        if hangs.is_set():
            answers.wait(30)
        return read_desk(settings)

    page = Health(Looks(read))
    first = health(page, hosting)
    trouble(hosting)
    hangs.set()
    assert health(page, hosting) == first
    assert "All below is as it was" not in first["checks"]
    monkeypatch.setattr(health_page, "_STALE_S", 0.0)
    assert "All below is as it was" in health(page, hosting)["checks"]
    answers.set()
    wait_until(lambda: "&lt;script&gt;" in health(page, hosting)["halts"], "the look that hung is done")


def said(hosting: Hosting, session_id: UUID, description: str, **columns: Any) -> UUID:
    """Leave an event; return its id."""
    row = {
        "event_id": uuid4(), "session_id": session_id, "event_type": "noted", "event_category": "system",
        "severity": "info", "description": description, **columns,
    }  # fmt: skip
    hosting.run(f"INSERT INTO events ({', '.join(row)}) VALUES ({', '.join(':' + name for name in row)})", **row)
    return row["event_id"]


def events(hosting: Hosting, viewer: Viewer | None = None, **asked: str) -> Part:
    return drawn(DeskEvents(), hosting.desk, viewer=viewer, **asked)["events-list"]


def listed(hosting: Hosting, viewer: Viewer | None = None, **asked: str) -> list[str]:
    return [name.removeprefix("event-") for name in events(hosting, viewer, **asked).children]


def test_events_are_found_by_what_they_say_of_themselves(hosting: Hosting) -> None:
    """Type, category, severity, agent, impact, words, session, state, time; newest first, words of others escaped."""
    one, two = hosting.create(), hosting.create()
    first = said(hosting, one, EVIL, severity="error", source_agent="Ann's agent", impact_assessment="may lose $5")
    last = said(hosting, two, "later", event_type="limit", requires_action=True, timestamp=later(1))
    for asked in ({"severity": "error"}, {"agent": "Ann's agent"}, {"impact": "LOSE"}, {"text": "alert("}):
        assert listed(hosting, session=str(one), **asked) == [str(first)]
    assert listed(hosting, state="open", type="other, limit", category="system,x") == [str(last)]
    assert listed(hosting, session=str(two), since=later(0.5).isoformat()) == [str(last)]
    assert EVIL not in events(hosting, session=str(one)).html
    assert "&lt;script&gt;" in events(hosting, session=str(one)).html


def test_events_of_other_sessions_are_not_shown(hosting: Hosting) -> None:
    """Whoever has a token for one session sees that one's alone, whatever they ask for."""
    one, two = hosting.create(), hosting.create()
    mine, theirs = said(hosting, one, "mine"), said(hosting, two, "theirs")
    scoped = Viewer(Actor("s", frozenset({"viewer"}), sessions=frozenset({str(one)})), "token")
    assert str(mine) in listed(hosting, scoped)
    assert str(theirs) not in listed(hosting, scoped)
    assert listed(hosting, scoped, session=str(two)) == []


def test_an_event_that_waits_is_acknowledged_by_those_who_may(hosting: Hosting) -> None:
    """They are led to it; once it is, it says by whom and what was done."""
    session_id = hosting.create()
    event_id = said(hosting, session_id, "act", requires_action=True)
    way = f"/sessions/{session_id}/events/{event_id}/ack"
    assert way in events(hosting, OPERATOR).html
    assert way not in events(hosting).html
    hosting.run("UPDATE events SET acknowledged_at = now(), acknowledged_by = 'olaf', action_taken = 'called'")
    assert way not in events(hosting, OPERATOR).html
    assert "Acknowledged by olaf" in events(hosting).html


def test_pages_of_events_hold_still_and_go_back(hosting: Hosting) -> None:
    """The newest page follows; held or older ones do not move when something happens."""
    session_id = hosting.create()
    few = hosting.with_settings(pages_rows=2)
    ids = [str(said(hosting, session_id, f"n{n}", timestamp=later(n))) for n in range(10, 15)]
    asked = {"session": str(session_id)}
    older = parse_qs(re.search(r'rel="next" href="\?([^"]*)"', events(few, **asked).html)[1].replace("&amp;", "&"))
    held = parse_qs(re.search(r'href="\?([^"]*)">Hold', events(few, **asked).html)[1].replace("&amp;", "&"))
    said(hosting, session_id, "new", timestamp=later(20))
    assert listed(few, **{name: value for name, [value] in older.items()}) == [ids[2], ids[1]]
    assert listed(few, **{name: value for name, [value] in held.items()}) == [ids[4], ids[3]]
    assert listed(few, **asked)[1] == ids[4]


@pytest.mark.parametrize(
    ("name", "value"),
    [("severity", "loud"), ("since", "noon"), ("state", "lost"), ("session", "1"), ("cursor", "x"), ("colour", "red")],
)
def test_filters_that_cannot_be_are_refused_by_name(hosting: Hosting, name: str, value: str) -> None:
    """Nothing is guessed, and nothing is left out in silence."""
    with pytest.raises(InvalidArgument, match=name):
        events(hosting, **{name: value})
