"""What agents of other services tell: each thing once, or refused once with the reason, and never lost."""

import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from door_world import AGENT, PLANNER, joined, leave, report, started
from health_world import checks, grade, swept
from hosting import Hosting, S, T, make_hosting, shared
from state_world import agent_bytes

from fntx_sessions.agents import joining, shutting_out
from fntx_sessions.agents.joining import AgentArguments
from fntx_sessions.agents.roster import RosterArguments, list_agents
from fntx_sessions.automation import intake
from fntx_sessions.automation.health import looking
from fntx_sessions.database.engine import statements
from fntx_sessions.exceptions import Busy, Unavailable
from fntx_sessions.lifecycle.reads.told import told_data
from fntx_sessions.security.actor import Actor
from fntx_sessions.stack.lag_status import diagnose_lag, read_lag_status
from fntx_sessions.state import archive_rows
from fntx_sessions.state.erasing import erase
from fntx_sessions.state.payloads import Payloads
from fntx_sessions.state.redis_client import key
from fntx_sessions.testing import failpoints_armed

NOW = datetime.now(UTC) - timedelta(minutes=5)
PUBLISHED = {"kind": "published"}
ROOT = Actor("root", frozenset({"admin"}))
Record = tuple[str, str, bytes]


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        made.run("UPDATE session_agents SET joined_at = NULL")
        made.run("UPDATE session_work SET next_health_at = NULL")
        yield made


def trade(trade_id: str = "t1", **changed: Any) -> Record:
    told = {"trade_id": trade_id, "strategy": "condor", "opened_at": NOW.isoformat(), "legs": [{"strike": 470}]}
    return "trade", trade_id, orjson.dumps(told | changed)


def closed(trade_id: str = "t1", **changed: Any) -> Record:
    end = {"closed_at": (NOW + timedelta(minutes=1)).isoformat(), "gross_pnl": 12.34, "fees": 1.36, "slippage": 0.5}
    return trade(trade_id, **end | changed)


def decision(decision_id: str = "d1", **changed: Any) -> Record:
    told = {"decision_id": decision_id, "timestamp": NOW.isoformat(), "what": "sell a put", "latency_ms": 12.5}
    return "decision", decision_id, orjson.dumps(told | changed)


def error(error_id: str = "e1", **changed: Any) -> Record:
    told = {"error_id": error_id, "timestamp": NOW.isoformat(), "error": "NoQuote", "message": "none came"}
    return "error", error_id, orjson.dumps(told | changed)


def kept(hosting: Hosting, session_id: UUID) -> list[dict[str, Any]]:
    statement = "SELECT * FROM agent_reports WHERE session_id = :id ORDER BY kind, report_id"
    return hosting.rows(statement, id=session_id)


def refusals(hosting: Hosting, session_id: UUID) -> list[str]:
    return [event["description"] for event in hosting.events(session_id, "record_refused")]


def told(hosting: Hosting, *records: Record, **config: Any) -> tuple[UUID, dict[str, Any]]:
    """A started session whose planner told these records."""
    session_id, answers = started(hosting, PLANNER, **config)
    assert report(hosting, answers[PLANNER], None, records)[3] == len(records)
    return session_id, answers[PLANNER]


def test_what_is_told_is_kept_once_with_its_measures_and_its_words_sealed(hosting):
    """A trade, a decision and an error, told twice: three rows, nothing left in Redis."""
    session_id, said = told(hosting, closed(), decision(), error())
    report(hosting, said, None, (closed(), decision(), error()))
    assert intake.take_in(hosting.desk) == {"taken": 3, "refused": 0, "repeated": 3}
    made, failed, sold = kept(hosting, session_id)
    assert (made["kind"], made["latency_ms"], made["timestamp"], made["epoch"]) == ("decision", 12.5, NOW, 1)
    assert failed["kind"] == "error"
    assert (sold["gross_pnl"], sold["fees"], sold["slippage"]) == (Decimal("12.34"), Decimal("1.36"), Decimal("0.5"))
    assert (sold["opened_at"], sold["closed_at"]) == (NOW, NOW + timedelta(minutes=1))
    assert told_data(Payloads(hosting.desk.engine), sold)["legs"] == [{"strike": 470}]
    assert b"470" not in bytes(sold["data"])
    assert hosting.desk.redis.xlen(said["keys"]["records"]) == 0
    assert intake.take_in(hosting.desk) == {"taken": 0, "refused": 0, "repeated": 0}


@pytest.mark.parametrize("apart", [True, False])
def test_a_trade_told_open_is_closed_once(hosting, apart):
    """Open, then closed, then open again by a late copy: one closed trade, whether taken in together or apart."""
    session_id, said = told(hosting, trade())
    for record in (closed(), trade()):
        if apart:
            intake.take_in(hosting.desk)
        report(hosting, said, None, (record,))
    intake.take_in(hosting.desk)
    [row] = kept(hosting, session_id)
    assert (row["gross_pnl"], row["timestamp"]) == (Decimal("12.34"), NOW + timedelta(minutes=1))
    assert refusals(hosting, session_id) == []
    report(hosting, said, None, (closed(gross_pnl=99),))
    intake.take_in(hosting.desk)
    assert kept(hosting, session_id) == [row]
    assert "'t1' stands for another one" in refusals(hosting, session_id)[0]


def deep(record: Record, depth: int) -> Record:
    """Nest what the record says as `DEEP`, deeper than the writers of JSON here go."""
    return (*record[:2], record[2].replace(b'"DEEP"', b'{"a":' * depth + b"1" + b"}" * depth))


AHEAD = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
BAD: dict[str, tuple[Record, str]] = {
    "a number that is none": (("decision", "d", b'{"decision_id":"d","latency_ms":NaN}'), "finite numbers"),
    "text that is none": (("error", "e", b'{"error_id":"\xff"}'), "UTF-8"),
    "no JSON": (("trade", "t", b"{"), "JSON"),
    "nested": (("decision", "d", b'{"data":' + b'{"a":' * 5000 + b"1" + b"}" * 5001), "decision"),
    "nested past what is written": (deep(decision("d", data="DEEP"), 260), "data: is nested more than 100 deep"),
    "nested past what is read": (deep(decision("d", data="DEEP"), 900), "data: is nested more than 100 deep"),
    "nested legs": (deep(trade("t", legs=["DEEP"]), 120), "legs: is nested more than 100 deep"),
    "a lone surrogate": (("error", "e", b'{"error_id":"e","message":"\\udcff"}'), "error:"),
    "an exponent no column holds": (closed("t", gross_pnl="1e-100000"), "gross_pnl: should be a number"),
    "nothing with an exponent": (closed("t", fees="0E-100000"), "fees: should be a number"),
    "an amount as code writes it": (closed("t", gross_pnl="1_000"), "gross_pnl: should be a number"),
    "an amount with blanks": (closed("t", slippage=" 5 "), "slippage: should be a number"),
    "no object": (("trade", "t", b"[1]"), "a trade of TheirPlanner was refused: trade: is no object"),
    "NUL": (error("e", message="a\x00b"), "no text"),
    "unknown key": (trade("t", wallet=1), "wallet: is not a known key"),
    "the future": (decision("d", timestamp=AHEAD), "had not come yet"),
    "true for a number": (decision("d", latency_ms=True), "latency_ms: should be a number"),
    "text for a number": (decision("d", latency_ms="12"), "latency_ms: should be a number"),
    "a number for a moment": (decision("d", timestamp=1_700_000_000), "timestamp: should be text"),
    "closed before opened": (closed("t", closed_at="2020-01-01T00:00:00Z"), "closed_at is before opened_at"),
    "no outcome": (closed("t", gross_pnl=None), "gross_pnl"),
    "money without end": (closed("t", gross_pnl=1e300), "gross_pnl"),
    "another id": (("trade", "other", trade("t")[2]), "is not 'other'"),
    "a moment no calendar has": (decision("d", timestamp="0001-01-01T00:00:00+14:00"), "decision"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_be_so_is_refused_and_told_and_the_rest_is_kept(hosting, bad):
    """One event naming agent, kind, id and why; what was told before and after it counts."""
    record, why = BAD[bad]
    session_id, _ = told(hosting, decision("before"), record, error("after"), feed=PUBLISHED)
    assert intake.take_in(hosting.desk) == {"taken": 2, "refused": 1, "repeated": 0}
    [event] = hosting.events(session_id, "record_refused")
    assert why in event["description"]
    assert (event["source_agent"], event["data"]["kind"], event["data"]["report_id"]) == (PLANNER, *record[:2])
    assert {row["report_id"] for row in kept(hosting, session_id)} == {"before", "after"}


def test_a_simulated_session_may_be_ahead_of_the_wall_as_far_as_its_clock_is(hosting):
    """Stepped by agents of the desk, its day may be tomorrow's, no later one; stepped by nobody, the wall's it is."""
    session_id, said = told(hosting, decision(timestamp=AHEAD), feed={"kind": "synthetic", "trade_date": "2040-01-09"})
    intake.take_in(hosting.desk)
    assert "had not come yet" in refusals(hosting, session_id)[0]
    clock = datetime.now(UTC) + timedelta(days=30)
    stepped = "UPDATE session_work SET hosted = true, clock_at = :at WHERE session_id = :id"
    hosting.run(stepped, id=session_id, at=clock)
    dated = {"soon": clock + timedelta(minutes=5), "late": clock + timedelta(days=2)}
    report(hosting, said, None, tuple(decision(name, timestamp=at.isoformat()) for name, at in dated.items()))
    intake.take_in(hosting.desk)
    hosting.run(stepped, id=session_id, at=None)
    report(hosting, said, None, (decision("first", timestamp="2040-01-09T15:00:00Z"),))
    intake.take_in(hosting.desk)
    assert {row["report_id"] for row in kept(hosting, session_id)} == {"soon", "first"}
    assert len(refusals(hosting, session_id)) == 2


def test_a_record_that_nobody_thought_of_is_refused_alone(hosting, monkeypatch):
    """Whatever it is that cannot be written: the others of its session and of every other come in, once."""
    session_id, _ = told(hosting, decision("before"), decision("poison"), decision("after"))
    other, _ = told(hosting, closed())
    write = intake.write

    def writing(connection, payloads, taken, refused):
        write(connection, payloads, taken, refused)
        if any("poison" in one.key for one in taken):
            connection.exec_driver_sql("SELECT 1e99999999999999999::numeric(4,2)")

    monkeypatch.setattr(intake, "write", writing)
    assert intake.take_in(hosting.desk) == {"taken": 3, "refused": 1, "repeated": 0}
    assert {row["report_id"] for row in kept(hosting, session_id)} == {"before", "after"}
    assert len(kept(hosting, other)) == 1
    assert "a decision of TheirPlanner was refused: decision: cannot be kept" in refusals(hosting, session_id)[0]
    assert intake.take_in(hosting.desk) == {"taken": 0, "refused": 0, "repeated": 0}


def test_an_intake_that_stands_still_is_an_alert_until_it_goes_on(hosting, monkeypatch):
    """Whatever stops it: the oldest record waits for longer than it may, `fntx doctor` says so, none is lost."""
    session_id, said = told(hosting)
    seconds, _ = hosting.desk.redis.time()
    kind, record_id, data = decision(timestamp="2024-01-02T15:00:00Z")
    fields = {"agent": PLANNER, "epoch": 1, "kind": kind, "id": record_id, "data": data}
    hosting.desk.redis.xadd(said["keys"]["records"], fields, id=f"{(seconds - 60) * 1000}-0")

    def away(*_):
        raise Unavailable("Postgres", "gone", "Start it.")

    with monkeypatch.context() as broken:
        broken.setattr(intake, "_round", away)
        with pytest.raises(Unavailable):
            intake.take_in(hosting.desk)
    with statements(hosting.desk.engine) as connection:
        [found] = [check for check in diagnose_lag(read_lag_status(connection)) if check.name == "alert records_wait"]
    assert found.result == "fail"
    assert "1 session waits, the longest for 6" in found.meaning
    assert str(session_id) in found.meaning
    intake.take_in(hosting.desk)
    assert len(kept(hosting, session_id)) == 1
    assert hosting.rows("SELECT 1 FROM alerts WHERE name = 'records_wait' AND cleared_at IS NULL") == []


def test_whoever_writes_past_the_script_stops_nobody(hosting):
    """No stream, ids that are no moments, an entry without fields, an epoch that is no number, an agent with NUL."""
    session_id, said = told(hosting, decision())
    stream = said["keys"]["records"]
    hosting.desk.redis.xadd(stream, {"x": "y"})
    hosting.desk.redis.xadd(
        stream, {"agent": "\x00", "epoch": "9" * 40, "kind": "trade\x00", "id": "\x00", "data": "1"}
    )
    assert intake.take_in(hosting.desk) == {"taken": 1, "refused": 2, "repeated": 0}
    assert len(refusals(hosting, session_id)) == 2
    assert hosting.desk.redis.xlen(stream) == 0
    hosting.desk.redis.set(stream, "x")
    other, their = told(hosting, decision())
    hosting.desk.redis.xadd(their["keys"]["records"], {"kind": "order"}, id=f"{2**64 - 1}-0")
    assert intake.take_in(hosting.desk) == {"taken": 1, "refused": 1, "repeated": 0}
    assert (len(kept(hosting, other)), len(refusals(hosting, other))) == (1, 1)
    hosting.desk.redis.delete(stream)


def test_a_flood_of_one_session_delays_no_other(hosting):
    """Each has its share of a batch: a sweep that is cut short has taken in the other's one record."""
    few = hosting.with_settings(intake_batch=4, intake_sweep_s=1e-6)
    flooded, _ = told(few, *(decision(f"d{n}") for n in range(50)))
    other, _ = told(few, decision())
    intake.take_in(few.desk)
    assert (len(kept(few, flooded)), len(kept(few, other))) == (2, 1)


def test_who_left_is_looked_at_until_all_it_told_is_taken_in(hosting):
    """Its last words count; after that its session is not asked about any more."""
    session_id, _ = told(hosting, decision())
    leave(hosting, session_id)
    intake.take_in(hosting.desk)
    assert len(kept(hosting, session_id)) == 1
    intake.take_in(hosting.desk)
    assert hosting.rows("SELECT 1 FROM session_agents WHERE joined_at IS NOT NULL") == []


def test_who_left_and_is_ready_without_joining_stays_ready(hosting):
    """A start waits for nobody who has said so, also once the door of who left is forgotten."""
    session_id, _ = told(hosting)
    leave(hosting, session_id)
    joining.ready(hosting.desk, AGENT, AgentArguments(session_id=session_id, agent=PLANNER))
    intake.take_in(hosting.desk)
    [row] = hosting.rows(
        "SELECT joined_at, ready_at FROM session_agents WHERE session_id = :id AND agent = :agent",
        id=session_id,
        agent=PLANNER,
    )
    assert (row["joined_at"], row["ready_at"] is None) == (None, False)


def test_what_cannot_be_shut_out_now_hinders_no_intake(hosting, monkeypatch):
    """Whoever holds those rows up delays what other agents told by nothing; the next intake tries again."""
    session_id, _ = told(hosting, decision())

    def held(*_):
        raise Busy("the agents of this desk", 50)

    with monkeypatch.context() as busy:
        busy.setattr(shutting_out, "_shut_some", held)
        intake.take_in(hosting.desk)
    assert len(kept(hosting, session_id)) == 1


def test_a_closed_session_is_archived_once_its_last_records_are_in(hosting):
    """Told before it closed, taken in after: the archive waits for it."""
    session_id, said = told(hosting, closed(), feed=PUBLISHED)
    hosting.do(T.STOP, session_id, close_positions=False)
    hosting.finish()
    assert hosting.row(session_id)["status"] == S.CLOSED

    def due() -> bool:
        return session_id in {one.session_id for one in archive_rows.claim(hosting.desk.engine, 100, 0)}

    assert not due()
    intake.take_in(hosting.desk)
    assert report(hosting, said, None, (decision(),))[1] == b"not_live"
    intake.take_in(hosting.desk)
    assert due()
    assert [row["kind"] for row in kept(hosting, session_id)] == ["trade"]


def test_what_is_told_goes_with_a_shredded_session(hosting):
    """Rows and what still waits in Redis; a record of one whose key is gone stops no other session's."""
    session_id, _ = told(hosting, closed(), feed=PUBLISHED)
    other, _ = told(hosting, decision())
    intake.take_in(hosting.desk)
    hosting.do(T.STOP, session_id, close_positions=False)
    hosting.finish()
    hosting.desk.redis.xadd(key(session_id, "records"), {"kind": "decision"})
    hosting.do(T.SHRED, session_id, actor=ROOT, reason="asked to")
    report(hosting, joined(hosting, other), None, (decision("d2"),))
    intake.take_in(hosting.desk)
    assert len(kept(hosting, other)) == 2
    assert hosting.desk.redis.xlen(key(session_id, "records")) == 0
    erase(*hosting.desk.parts(), session_id)
    assert kept(hosting, session_id) == []


def killed_at(place: str, act: Callable[[], object]) -> None:
    child = os.fork()
    if child == 0:
        with failpoints_armed(f"{place}:kill"):
            act()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def in_own(hosting: Hosting) -> None:
    with make_hosting(hosting.desk.settings) as own:
        intake.take_in(own.desk)


@pytest.mark.parametrize(("place", "rows"), [("intake.before_commit", 0), ("intake.committed", 1)])
def test_an_intake_killed_anywhere_is_gone_on_with(hosting, place, rows):
    """Before its commit nothing is kept, after it everything: the next one makes it whole, once."""
    session_id, said = told(hosting, decision(), ("trade", "t", b"{"))
    killed_at(place, lambda: in_own(hosting))
    assert (len(kept(hosting, session_id)), len(refusals(hosting, session_id))) == (rows, rows)
    assert hosting.desk.redis.xlen(said["keys"]["records"]) == 2
    intake.take_in(hosting.desk)
    assert (len(kept(hosting, session_id)), len(refusals(hosting, session_id))) == (1, 1)
    assert hosting.desk.redis.xlen(said["keys"]["records"]) == 0


def test_two_intakes_at_once_take_in_everything_once(hosting, monkeypatch):
    """One reads, another takes in and deletes the same entries, then the first commits: nothing counts twice."""
    session_id, _ = told(hosting, trade(), closed(), decision(), ("trade", "t", b"{"))
    commit, inner = intake._commit, []

    def overtaken(*arguments):
        if not inner:
            inner.append(True)
            inner.append(intake.take_in(hosting.desk))
        return commit(*arguments)

    monkeypatch.setattr(intake, "_commit", overtaken)
    intake.take_in(hosting.desk)
    assert inner[1] == {"taken": 2, "refused": 1, "repeated": 0}
    assert [row["kind"] for row in kept(hosting, session_id)] == ["decision", "trade"]
    assert len(refusals(hosting, session_id)) == 1


# How they do


def test_what_lies_in_redis_for_one_session_hides_no_other(hosting):
    """An acknowledgement that is no id, a heartbeat without end, no live state but a word: the other is looked at."""
    session_id, answers = started(hosting, PLANNER)
    other, _ = started(hosting, PLANNER)
    live = answers[PLANNER]["keys"]["live"]
    hosting.desk.redis.hset(live, f"ack:{PLANNER}", f"{10**23}-0")
    hosting.desk.redis.hset(live, f"beat:{PLANNER}", "9" * 5000)
    [one] = list_agents(hosting.desk, RosterArguments(session_id=session_id))
    assert (one.behind, one.beat_s) == (2, None)
    assert swept(hosting).looked == 2
    hosting.desk.redis.set(live, "x")
    [one] = list_agents(hosting.desk, RosterArguments(session_id=session_id))
    assert one.unseen
    assert swept(hosting).looked == 2
    assert "cannot be read" in checks(hosting, session_id)["agent_slow"]["reason"]
    assert grade(hosting, other, "agent_slow") == "ok"


def test_a_look_that_ends_in_a_way_nobody_thought_of_hides_no_other_session(hosting, monkeypatch):
    """That session stays due; the other is looked at."""
    session_id, _ = started(hosting, PLANNER)
    other, _ = started(hosting, PLANNER)
    facts = looking.read_health_facts

    def reading(desk, ids):
        if session_id in ids:
            raise ValueError("nobody thought of this")
        return facts(desk, ids)

    monkeypatch.setattr(looking, "read_health_facts", reading)
    assert swept(hosting).looked == 1
    due = "SELECT session_id FROM session_work WHERE next_health_at <= now() AND session_id = ANY(:ids)"
    assert [row["session_id"] for row in hosting.rows(due, ids=[session_id, other])] == [session_id]


def test_the_roster_says_who_joined_how_far_each_read_and_what_was_refused(hosting):
    """Ready, joined, acknowledged, unread, refused by reason; without a session the hosted agents there are."""
    session_id, answers = started(hosting, PLANNER)
    report(hosting, answers[PLANNER], ack="1-0")
    report(hosting, answers[PLANNER], {"agent/Other": b"{}"})
    [one] = list_agents(hosting.desk, RosterArguments(session_id=session_id))
    assert (one.hosted, one.joined_by, one.acknowledged, one.behind) == (False, "their-service", "1-0", 1)
    assert (one.refused, one.ready_at is not None, one.beat_s is not None) == ({"not_yours": 1}, True, True)
    leave(hosting, session_id)
    [gone] = list_agents(hosting.desk, RosterArguments(session_id=session_id))
    assert (gone.joined_at, gone.ready_at) == (None, None)
    hosted = list_agents(hosting.desk, RosterArguments())
    assert "TacticalExecutorAgent" in {one.agent for one in hosted}


def test_health_names_who_does_not_read_and_whose_reports_are_refused(hosting):
    """Degraded, by name and reason; well again once it has read, and the refusal is old."""
    session_id, answers = started(hosting, PLANNER)
    said = answers[PLANNER]
    assert grade(hosting, session_id, "agent_slow") == "ok"
    slow = hosting.with_settings(agent_slow_s=1e-9)
    found = checks(slow, session_id)["agent_slow"]
    assert (found["grade"], found["subject"]) == ("degraded", PLANNER)
    newest = hosting.desk.redis.xrevrange(said["keys"]["inbox"], count=1)[0][0].decode()
    report(hosting, said, ack=newest)
    assert grade(slow, session_id, "agent_slow") == "ok"
    report(hosting, said, {"agent/Other": b"{}"})
    assert "not_yours" in checks(hosting, session_id)["agent_refused"]["reason"]
    hosting.desk.redis.hset(said["keys"]["live"], f"refused_at:{PLANNER}", "1/not_yours")
    assert grade(hosting, session_id, "agent_refused") == "ok"
    report(hosting, said, agent="Stranger")
    assert "somebody who has not joined: not_joined" in checks(hosting, session_id)["agent_refused"]["reason"]


def test_a_required_agent_that_left_a_running_session_is_dead_after_a_while(hosting):
    """Saying goodbye does not make a session healthy that cannot do without it."""
    session_id, answers = started(hosting, PLANNER)
    report(hosting, answers[PLANNER], {f"agent/{PLANNER}": agent_bytes(PLANNER)})
    leave(hosting, session_id)
    assert grade(hosting, session_id, "agent_dead") == "ok"
    hosting.run("UPDATE sessions SET status_since = now() - interval '1 hour' WHERE session_id = :id", id=session_id)
    hosting.desk.redis.hset(key(session_id, "live"), f"beat:{PLANNER}", 1)
    assert grade(hosting, session_id, "agent_dead") == "failed"
