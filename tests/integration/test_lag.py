"""How far behind the desk is, by the rows that sweeps leave; and alerts, which stand until they are cleared."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hosting import Hosting, make_hosting, shared

import beat_schedule
from fntx_sessions.automation import alerts, lag, lookout, sweeps
from fntx_sessions.automation.alerts import Found
from fntx_sessions.automation.lag import Lag, Overdue
from fntx_sessions.schemas import Severity
from fntx_sessions.stack.lag_status import diagnose_lag
from fntx_sessions.stack.status import read_database

DUE = {kind: column for kind, (column, _) in lag.DUE.items()}


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made
        made.run("DELETE FROM alerts; UPDATE session_work SET next_rule_at = NULL, next_health_at = NULL")


def measured(hosting: Hosting) -> Lag:
    return lag.measure(hosting.desk.engine, hosting.desk.settings)


def ran(hosting: Hosting, name: str, *, ago_s: float, sent_ago_s: float | None = None) -> None:
    """Let a sweep have run so long ago, by a message sent so long ago."""
    hosting.run(
        "INSERT INTO sweep_runs (name, last_run, sent_at) VALUES (:name, now() - make_interval(secs => :ago), "
        "now() - make_interval(secs => :sent)) ON CONFLICT (name) DO UPDATE SET last_run = excluded.last_run, "
        "sent_at = excluded.sent_at",
        name=name, ago=ago_s, sent=sent_ago_s,
    )  # fmt: skip


def test_a_desk_where_nothing_ran_yet_is_not_late(hosting):
    """A stack that has just come up raises nothing."""
    found = measured(hosting)
    assert (found.beat_lag_s, found.beat_late, found.late, found.waiting) == (None, False, {}, {})
    assert found.sweeps.keys() == {entry.name for entry in beat_schedule.ENTRIES}
    assert str(found) == "sweeps run in time, no session is overdue"


def test_beat_is_as_late_as_its_newest_message(hosting):
    """One sweep that beat sends is enough; runs that somebody else asked for do not speak for beat."""
    ran(hosting, "save", ago_s=0, sent_ago_s=40)
    ran(hosting, "relay", ago_s=0)
    found = measured(hosting)
    assert found.beat_late
    assert found.beat_lag_s == pytest.approx(40, abs=5)
    ran(hosting, "relay", ago_s=3, sent_ago_s=3)
    assert not measured(hosting).beat_late


def test_a_sweep_is_late_by_its_own_interval(hosting):
    """50 s are much for what runs each second, nothing for what runs each minute."""
    for name in ("save", "retention"):
        ran(hosting, name, ago_s=50, sent_ago_s=50.2)
    found = measured(hosting)
    assert found.late.keys() == {"save"}
    assert found.late["save"].lag_s == pytest.approx(49, abs=5)
    assert found.sweeps["retention"].queue_s == pytest.approx(0.2)


@pytest.mark.parametrize("kind", DUE)
def test_sessions_are_overdue_by_kind(hosting, kind):
    """Counted where a due time has passed long ago, with the longest wait."""
    ids = [hosting.create() for _ in range(3)]
    due = f"UPDATE session_work SET {DUE[kind]} = now() - make_interval(secs => :s) WHERE session_id = ANY(:ids)"
    hosting.run(due, ids=ids[:1], s=190)
    hosting.run(due, ids=ids[1:2], s=140)
    hosting.run(due, ids=ids[2:], s=55 if kind == lag.HEALTH else 1)  # its sweep comes each minute
    found = measured(hosting)
    assert found.waiting.keys() == {kind}
    assert found.overdue[kind].sessions == 2
    assert found.overdue[kind].oldest_s == pytest.approx(190, abs=5)
    assert str(found).startswith(f"{kind}: 2 sessions wait, the longest for 19")


def test_a_closed_session_waits_for_nothing(hosting):
    """A due time it was left with is nobody's loss."""
    session_id = hosting.create()
    hosting.run("UPDATE session_work SET status = 'closed', next_step_at = now() - interval '1 h' "
                "WHERE session_id = :id", id=session_id)  # fmt: skip
    assert measured(hosting).overdue[lag.STEPS] == Overdue()


def noted(hosting: Hosting, name: str) -> dict:
    return hosting.rows("SELECT *, sent_at <= last_run AS past FROM sweep_runs WHERE name = :name", name=name)[0]


def test_a_run_notes_when_beat_sent_it_and_never_in_the_future(hosting):
    """A beat whose clock runs ahead does not hide its own death; a run by hand keeps what beat said last."""
    said = datetime.now(UTC) - timedelta(seconds=5)
    token = sweeps.sent_at.set(said)
    sweeps.note_run(hosting.desk.engine, "save")
    assert noted(hosting, "save")["sent_at"] == said
    sweeps.sent_at.set(None)
    sweeps.note_run(hosting.desk.engine, "save")
    assert noted(hosting, "save")["sent_at"] == said
    sweeps.sent_at.set(said + timedelta(hours=1))
    sweeps.note_run(hosting.desk.engine, "save")
    assert noted(hosting, "save")["past"]
    sweeps.sent_at.reset(token)


def test_how_long_a_run_took_is_told_at_once_where_it_was_long(hosting, monkeypatch):
    """A short one costs no message of its own: the next run tells it."""
    engine = hosting.desk.engine
    now = iter([10.0, 10.25, 20.0, 22.5])
    monkeypatch.setattr(sweeps.time, "monotonic", lambda: next(now))
    sweeps.note_run(engine, "erase")
    sweeps.note_end(lambda: engine, "erase")
    assert noted(hosting, "erase")["took_s"] is None
    sweeps.note_run(engine, "erase")
    assert noted(hosting, "erase")["took_s"] == 0.25
    sweeps.note_end(lambda: engine, "erase")
    assert noted(hosting, "erase")["took_s"] == 2.5
    sweeps.note_end(lambda: engine, "erase")  # never began: nothing to say


def test_an_alert_is_raised_once_and_stands_until_it_is_cleared(hosting):
    """Raised again it is the same alert, its words renewed; cleared it is over, and may be raised anew."""
    engine = hosting.desk.engine
    assert alerts.raise_alert(engine, "disk", "node1", Severity.WARNING, "10 % free")
    assert not alerts.raise_alert(engine, "disk", "node1", Severity.CRITICAL, "1 % free")
    assert alerts.raise_alert(engine, "disk", "node2", Severity.WARNING, "9 % free")
    first, second = alerts.standing(engine)
    assert (first.subject, first.severity, first.description) == ("node1", Severity.CRITICAL, "1 % free")
    assert second.subject == "node2"
    assert alerts.clear(engine, "disk", "node1")
    assert not alerts.clear(engine, "disk", "node1")
    assert alerts.raise_alert(engine, "disk", "node1", Severity.WARNING, "10 % free")
    assert len(hosting.rows("SELECT FROM alerts")) == 3


def test_alerts_of_a_name_become_what_was_found(hosting):
    """What is not found any more is cleared; other names are left alone."""
    engine = hosting.desk.engine
    alerts.raise_alert(engine, "other", "x", Severity.WARNING, "stays")
    found = [Found("sweep", name, Severity.WARNING, "late") for name in ("save", "step")]
    changes = alerts.settle(engine, ["sweep"], found)
    assert [alert.subject for alert in changes.raised] == ["save", "step"]
    changes = alerts.settle(engine, ["sweep"], found[:1])
    assert (changes.raised, [alert.subject for alert in changes.cleared]) == ([], ["step"])
    assert [alert.name for alert in alerts.standing(engine)] == ["other", "sweep"]


def look(hosting: Hosting) -> dict[str, list[tuple[str, str]]]:
    changes = lookout.look(hosting.desk.engine, hosting.desk.settings)
    return {word: [(alert.name, alert.subject) for alert in getattr(changes, word)] for word in ("raised", "cleared")}


def test_a_dead_beat_is_an_alert_and_an_event_on_who_holds_positions_once_an_outage(hosting):
    """Seen again nothing more is told; when beat is back it is cleared; the next outage is another."""
    holding, flat = hosting.holding(hosting.started()), hosting.started()
    quiet(hosting)
    ran(hosting, "save", ago_s=60, sent_ago_s=60)
    ran(hosting, "relay", ago_s=60, sent_ago_s=60)
    beat = [("beat_late", "beat")]
    assert look(hosting) == {"raised": beat, "cleared": []}
    assert look(hosting) == {"raised": [], "cleared": []}
    [event] = hosting.events(holding, "beat_late")
    assert (event["severity"], event["requires_action"]) == ("critical", True)
    assert "no exit runs" in event["description"]
    assert hosting.events(flat, "beat_late") == []
    ran(hosting, "save", ago_s=0, sent_ago_s=0)
    assert look(hosting) == {"raised": [("sweep_late", "relay")], "cleared": beat}
    ran(hosting, "relay", ago_s=0, sent_ago_s=0)
    assert look(hosting) == {"raised": [], "cleared": [("sweep_late", "relay")]}
    for name in ("save", "relay"):
        ran(hosting, name, ago_s=60, sent_ago_s=60)
    assert look(hosting)["raised"] == beat
    assert len(hosting.events(holding, "beat_late")) == 2


def quiet(hosting: Hosting) -> None:
    """Let nothing be due."""
    hosting.run("UPDATE session_work SET " + ", ".join(f"{column} = NULL" for column in DUE.values()))


def test_overdue_sessions_are_an_alert_until_they_are_not(hosting):
    """By kind, naming the sweep that is behind."""
    session_id = hosting.create()
    ran(hosting, "save", ago_s=0, sent_ago_s=0)
    hosting.run("UPDATE session_work SET next_save_at = now() - interval '1 min' WHERE session_id = :id", id=session_id)
    assert look(hosting)["raised"] == [("sessions_overdue", "saves")]
    assert "The sweep save is behind" in alerts.standing(hosting.desk.engine)[0].description
    quiet(hosting)
    assert look(hosting)["cleared"] == [("sessions_overdue", "saves")]


def test_one_worker_looks_for_all(hosting):
    """Whoever comes within the interval leaves it at that."""
    engine, settings = hosting.desk.engine, hosting.desk.settings
    assert lookout.look(engine, settings, every_s=60) is not None
    assert lookout.look(engine, settings, every_s=60) is None


def test_what_workers_do_by_themselves_is_no_sign_of_beat(hosting):
    """Doctor judges beat by its sweeps alone, and has a line for what is late and for every alert."""
    url = hosting.desk.settings.database_url.get_secret_value()
    ran(hosting, "save", ago_s=90, sent_ago_s=90)
    look(hosting)
    found = read_database(url)
    assert found.error is None
    assert found.sweeps.keys() == {"save"}
    assert found.last_sweep_age_s == pytest.approx(90, abs=5)
    assert found.behind is not None
    checks = {check.name: check for check in diagnose_lag(found.behind)}
    assert checks["alert beat_late"].result == "fail"
    assert "no exit runs" in checks["alert beat_late"].meaning
    ran(hosting, "save", ago_s=0, sent_ago_s=0)
    look(hosting)
    quiet(hosting)
    calm = read_database(url).behind
    assert calm is not None
    assert {check.result for check in diagnose_lag(calm)} == {"ok"}
