"""The rules desk over real stores: explained, rehearsed over recordings, edited; looking changes nothing."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import orjson
import pytest
from hosting import ANN, SYSTEM, Hosting, T, make_hosting, shared

from fntx_sessions.automation.rules import recording, rehearsals
from fntx_sessions.automation.rules.editing import TemplateRulesArguments, set_template_rules
from fntx_sessions.automation.rules.explain import ExplainArguments, explain
from fntx_sessions.automation.rules.rehearsals import RehearseArguments, over_session
from fntx_sessions.automation.rules.sweep import evaluate_due
from fntx_sessions.database import models
from fntx_sessions.exceptions import CommandConflict, Forbidden, InvalidArgument, NotFound, PreconditionFailed
from fntx_sessions.lifecycle import execute, templates
from fntx_sessions.lifecycle.arguments import CreateFromTemplateArguments
from fntx_sessions.lifecycle.templates import reading
from fntx_sessions.security.actor import Actor
from fntx_sessions.trading.market_store import MARKET_KEY

OPERATOR, RISK, VIEWER = (Actor(name, frozenset({name})) for name in ("operator", "risk_manager", "viewer"))
PUBLISHED = {"feed": {"kind": "published"}}
VIX = {"condition": "vix_above", "value": 30}
CLOSE = {"condition": "market_close", "value": True}


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def everything(hosting: Hosting) -> dict[str, list[str]]:
    """Return every row of every table, as text."""
    names = [table.name for table in models.metadata.sorted_tables]
    return {
        name: [row["row"] for row in hosting.rows(f"SELECT t::text AS row FROM {name} t ORDER BY 1")] for name in names
    }


def publish(hosting: Hosting, **state) -> None:
    """Publish a market of now."""
    told = {"timestamp": datetime.now(UTC).isoformat(), "spy_price": 270.0, "vix_level": 15.0} | state
    hosting.desk.redis.set(MARKET_KEY, orjson.dumps(told))


def explained(hosting: Hosting, session_id: UUID, decisions: int = 5) -> dict:
    """Return what explain says, as JSON would carry it."""
    found = explain(hosting.desk, ExplainArguments(session_id=session_id, decisions=decisions))
    return orjson.loads(orjson.dumps(found, default=str))


def conditions(found: dict, name: str) -> list[dict]:
    """Return one rule set of an explanation."""
    [one] = [one for one in found["sets"] if one["name"] == name]
    return one["conditions"]


# --- explain ---------------------------------------------------------------------------------------------------------


def test_a_session_never_evaluated_is_explained_all_the_same(hosting):
    """Value, limit, age, truth and reason of every condition of every set, and why it does not start."""
    publish(hosting, vix_level=31.2)
    session_id = hosting.create("regular", config=PUBLISHED)
    found = explained(hosting, session_id)
    vix = conditions(found, "start")[1]
    assert (vix["condition"], vix["value"], vix["limit"], vix["is"]) == ("vix_below", 31.2, 30.0, "false")
    assert vix["age_s"] < 60
    assert vix["why"].startswith("VIX 31.2 >= 30, quote ")
    assert vix["since"] is None
    evaluate_due(hosting.desk, SYSTEM)
    assert conditions(explained(hosting, session_id), "start")[1]["since"] is not None
    assert found["next"]["action"] is None
    assert "VIX 31.2 >= 30" in found["next"]["why"]
    assert [one["looked_at"] for one in found["sets"]] == [True, False, False, False]
    assert [one["condition"] for one in conditions(found, "stop")] == [
        "daily_loss_exceeded", "market_close", "error_rate_above"
    ]  # fmt: skip
    assert found["decisions"] == []


def test_without_a_market_what_reads_it_is_unknown_and_starts_nothing(hosting):
    """Nothing published: the VIX is unknown, the reason says so."""
    found = explained(hosting, hosting.create("regular", config=PUBLISHED))
    assert conditions(found, "start")[1]["is"] == "unknown"
    assert found["next"]["action"] is None
    assert "not known" in found["next"]["why"]


def test_explaining_and_rehearsing_write_nothing(hosting):
    """Before and after, every row of every table is the same; so are Redis's keys."""
    publish(hosting)
    running = hosting.started("backtest")
    hosting.step()
    waiting = hosting.create("regular", config=PUBLISHED)
    before, keys = everything(hosting), sorted(hosting.desk.redis.keys())
    explained(hosting, waiting)
    explained(hosting, running)
    rules = {"stop": [CLOSE, {"condition": "drawdown_above", "value": 1}]}
    over_session(hosting.desk.engine, hosting.desk.settings, RehearseArguments(session_id=running, rules=rules))
    assert everything(hosting) == before
    assert sorted(hosting.desk.redis.keys()) == keys


def test_what_will_happen_is_what_the_sweep_then_does(hosting):
    """A pause rule that holds: explained as the next thing, done by the next sweep, kept as a decision with inputs."""
    publish(hosting, vix_level=35.0)
    rules = {"auto_stop_conditions": [], "auto_pause_conditions": [VIX]}
    session_id = hosting.started("regular", config=PUBLISHED | rules)
    found = explained(hosting, session_id)
    assert found["next"]["action"] == "pause"
    assert "VIX 35 > 30" in found["next"]["why"]
    evaluate_due(hosting.desk, SYSTEM)
    found = explained(hosting, session_id)
    assert (found["status"], found["holds"]) == ("paused", ["rule"])
    assert found["next"] == {"action": None, "at": None, "why": "not resumed: there are no resume rules"}
    [decision] = [one for one in found["decisions"] if one["action"] == "pause"]
    assert decision["outcome"] == "done"
    assert decision["truths"]["pause"][0]["value"] == 35.0


def test_only_as_many_decisions_as_asked_for_newest_first(hosting):
    """`--decisions N` is N at most; 0 is none."""
    session_id = hosting.started("regular", config=PUBLISHED | {"auto_stop_conditions": [VIX]})
    for vix in (20.0, None, 20.0):
        publish(hosting, vix_level=vix)
        hosting.run("UPDATE session_work SET next_rule_at = now() WHERE session_id = :id", id=session_id)
        evaluate_due(hosting.desk, SYSTEM)
    listed = explained(hosting, session_id, 100)["decisions"]
    assert len(listed) >= 3
    assert explained(hosting, session_id, 2)["decisions"] == listed[:2]
    assert explained(hosting, session_id, 0)["decisions"] == []
    assert [one["seq"] for one in listed] == sorted((one["seq"] for one in listed), reverse=True)


def test_a_halt_is_told_in_place_of_what_it_forbids(hosting):
    """Rules would start it, a halt stands: nothing will happen, and the sentence names the halt."""
    publish(hosting)
    rules = {"auto_start_conditions": [{"condition": "vix_below", "value": 30}]}
    session_id = hosting.create("regular", config=PUBLISHED | rules)
    assert explained(hosting, session_id)["next"]["action"] == "start"
    halt = {"id": uuid4(), "name": str(session_id)}
    hosting.run(
        "INSERT INTO halts (halt_id, scope, scope_name, reason, actor) VALUES (:id, 'session', :name, 'CPI', 'ann')",
        **halt,
    )
    found = explained(hosting, session_id)["next"]
    assert found["action"] is None
    assert "halted by ann" in found["why"]
    assert "CPI" in found["why"]


def test_what_a_person_paused_is_told_to_stay_so(hosting):
    """Resume rules that hold do not lift a person's hold, and explain says whose it is."""
    publish(hosting)
    rules = {"auto_resume_conditions": [{"condition": "vix_below", "value": 30}], "auto_stop_conditions": []}
    session_id = hosting.started("regular", config=PUBLISHED | rules)
    hosting.do(T.PAUSE, session_id)
    found = explained(hosting, session_id)
    assert conditions(found, "resume")[0]["is"] == "true"
    assert found["next"]["action"] is None
    assert "held by person" in found["next"]["why"]


def test_an_evaluation_that_nobody_makes_is_told_as_overdue(hosting):
    """Beat or the worker of sweeps is away: explain says so, instead of promising a start."""
    publish(hosting)
    rules = {"auto_start_conditions": [{"condition": "vix_below", "value": 30}]}
    session_id = hosting.create("regular", config=PUBLISHED | rules)
    hosting.run("UPDATE session_work SET next_rule_at = now() - interval '1 h' WHERE session_id = :id", id=session_id)
    found = explained(hosting, session_id)["next"]
    assert (found["action"], "overdue" in found["why"]) == (None, True)


def test_where_nothing_is_looked_at_it_says_why(hosting):
    """Without start rules a person starts it; one that closes, or has closed, is past its rules."""
    waiting, running, ended = (hosting.create("paper_trading") for _ in range(3))
    hosting.do(T.STOP, ended)
    hosting.finish()
    hosting.do(T.START, running)
    hosting.do(T.STOP, running)
    assert "a person starts it" in explained(hosting, waiting)["next"]["why"]
    assert explained(hosting, running)["next"]["why"].startswith("nothing: it is closing")
    assert explained(hosting, ended)["next"]["why"].startswith("nothing: it is closed")


def test_explaining_an_unknown_session_is_not_found(hosting):
    """No such session: refused by name."""
    with pytest.raises(NotFound):
        explained(hosting, uuid4())


# --- rehearsals over a recording -----------------------------------------------------------------------------------


def rehearsed(hosting: Hosting, session_id: UUID, rules: dict, **more) -> dict:
    """Return a rehearsal over a recorded session."""
    arguments = RehearseArguments(session_id=session_id, rules=rules, **more)
    return over_session(hosting.desk.engine, hosting.desk.settings, arguments)


def test_a_recorded_day_knows_its_pnl_and_drawdown(hosting):
    """Over a backtested day a drawdown rule fires at the first sample that was below, and none fires that never was."""
    session_id = hosting.started("backtest")
    hosting.with_settings(step_sweep_s=20.0).step()
    samples = hosting.rows("SELECT timestamp, net_pnl FROM samples WHERE session_id = :id ORDER BY 1", id=session_id)
    peak, fell = 0, []
    for one in samples:
        peak = max(peak, one["net_pnl"])
        fell.append((one["timestamp"], peak - one["net_pnl"]))
    deepest = max(depth for _, depth in fell)
    assert deepest > 0, "the day has to lose something for this to say anything"
    first = next(at for at, depth in fell if depth > deepest / 2)
    rules = {"stop": [{"condition": "drawdown_above", "value": float(deepest / 2)}]}
    [day] = rehearsed(hosting, session_id, rules)["days"]
    assert [datetime.fromisoformat(one["at"]) for one in day["firings"] if one["action"] == "stop"] == [first]
    never = {"stop": [{"condition": "drawdown_above", "value": float(deepest) + 1}]}
    [day] = rehearsed(hosting, session_id, never)["days"]
    assert (day["status"], day["never_known"]) == ("active", [])


WALL = datetime(2018, 2, 5, 14, 30, tzinfo=UTC)


def record(hosting: Hosting, session_id: UUID, points: list[tuple[timedelta, float, float]]) -> None:
    """Store samples as a session on the wall's clock would have left them: after when, VIX and P&L."""
    for after, vix, pnl in points:
        steps = {"attempted": 5, "failed": 0, "vix": vix, "regime": "normal", "liquidity": "normal"}
        hosting.run(
            "INSERT INTO samples (session_id, timestamp, epoch, net_pnl, spot, steps) "
            "VALUES (:id, :at, 1, :pnl, 264.0, CAST(:steps AS jsonb))",
            id=session_id, at=WALL + after, pnl=pnl, steps=orjson.dumps(steps).decode(),
        )  # fmt: skip


def test_a_recording_of_the_wall_is_judged_at_its_samples_and_grows_old_in_gaps(hosting):
    """Dwell counts over samples; in a gap the data is too old to be known; the clock's rules go on."""
    session_id = hosting.started("regular", config=PUBLISHED)
    spike = [(timedelta(seconds=5 * n), 20.0 if n < 12 else 33.0, 0.0) for n in range(36)]
    record(hosting, session_id, spike)
    rules = {"pause": [VIX | {"for_s": 60}], "stop": [CLOSE, {"condition": "vix_above", "value": 50}]}
    [day] = [one for one in rehearsed(hosting, session_id, rules)["days"] if one["day"] == "2018-02-05"]
    assert [(one["action"], one["clock"]) for one in day["firings"]] == [
        ("start", "09:30:00 EST"), ("pause", "09:32:00 EST"), ("stop", "16:00:00 EST"),
    ]  # fmt: skip
    assert day["never_known"] == []
    starts = {"start": [{"condition": "time_after", "value": "12:00:00"}, {"condition": "vix_below", "value": 60}]}
    [day] = [one for one in rehearsed(hosting, session_id, starts)["days"] if one["day"] == "2018-02-05"]
    assert (day["firings"], "not known" in day["idle_why"]) == ([], True)


def test_a_recordings_loss_is_that_of_its_day_and_limit(hosting):
    """daily_loss_exceeded reads the P&L since the day's roll against the account's limit of that day."""
    session_id = hosting.started("regular", config=PUBLISHED, risk_parameters={"max_daily_risk": 0.01})
    account = hosting.row(session_id)["account_id"]
    hosting.run(
        "INSERT INTO account_days (account_id, trade_date, equity_at_roll) VALUES (:account, '2018-02-05', 100000)",
        account=account,
    )
    day_before = timedelta(days=-3)  # Friday: what was lost then is not lost today
    record(hosting, session_id, [(day_before, 17.0, -700.0)])
    record(hosting, session_id, [(timedelta(minutes=n), 17.0, -700.0 - 250 * n) for n in range(6)])
    days = rehearsed(hosting, session_id, {"stop": [{"condition": "daily_loss_exceeded", "value": True}]})["days"]
    fired = {day["day"]: [(one["action"], one["clock"]) for one in day["firings"]] for day in days}
    assert fired["2018-02-05"] == [("start", "09:30:00 EST"), ("stop", "09:34:00 EST")]
    assert "stop" not in [action for action, _ in fired["2018-02-02"]]


def test_what_did_happen_stands_beside_what_would_have(hosting):
    """The recorded changes of status, with who and why, are part of the answer."""
    session_id = hosting.started("regular", config=PUBLISHED)
    record(hosting, session_id, [(timedelta(0), 20.0, 0.0)])
    hosting.do(T.PAUSE, session_id, reason="lunch")
    found = rehearsed(hosting, session_id, {"stop": [CLOSE]})
    assert [(one["to"], one["by"], one["why"]) for one in found["recorded"]][-1] == ("paused", "ann", "lunch")
    assert any("not simulated" in note for note in found["notes"])


def test_a_session_without_samples_and_an_unknown_one_are_refused(hosting):
    """Nothing recorded: the refusal says what to do instead."""
    with pytest.raises(PreconditionFailed, match="file of days"):
        rehearsed(hosting, hosting.create("paper_trading"), {"stop": [CLOSE]})
    with pytest.raises(NotFound):
        rehearsed(hosting, uuid4(), {"stop": [CLOSE]})


def test_too_many_samples_are_thinned_and_said_to_be(hosting, monkeypatch):
    """A recording that is too long is used evenly; counts over all of it stay right."""
    monkeypatch.setattr(recording, "MOST_SAMPLES", 10)
    session_id = hosting.started("regular", config=PUBLISHED)
    record(hosting, session_id, [(timedelta(seconds=5 * n), 20.0, -1.0 if n == 7 else 0.0) for n in range(40)])
    found = rehearsed(hosting, session_id, {"stop": [{"condition": "drawdown_above", "value": 0.5}]})
    assert any("40 samples" in note for note in found["notes"])
    assert found["days"][0]["status"] == "closed"
    monkeypatch.setattr(recording, "MOST_SAMPLES", 10_000)
    monkeypatch.setattr(rehearsals, "_MOST_LOOKS", 16)
    found = rehearsed(hosting, session_id, {"stop": [{"condition": "any_of", "value": [VIX, CLOSE, VIX]}]})
    assert any("every 10th was used" in note for note in found["notes"])


# --- edits of sessions -----------------------------------------------------------------------------------------------


def updated(hosting: Hosting, session_id: UUID, stop: list, actor: Actor):
    """Ask for other stop rules as the command line does."""
    return hosting.ask(T.UPDATE, session_id, actor=actor, config={"auto_stop_conditions": stop})


def test_a_stop_rule_of_a_started_session_is_taken_away_by_risk_alone(hosting):
    """An operator may tighten and add, not remove or widen; a risk manager may; every try is audited."""
    rules = PUBLISHED | {"auto_stop_conditions": [VIX, CLOSE]}
    session_id = hosting.started("regular", config=rules)
    for wider in ([], [VIX], [VIX | {"value": 35}, CLOSE], [VIX | {"for_s": 60}, CLOSE]):
        refused = updated(hosting, session_id, wider, OPERATOR)
        assert refused.state == "refused", wider
        assert refused.error["error"] == "Forbidden"
    assert updated(hosting, session_id, [CLOSE, VIX | {"value": 25}], OPERATOR).state == "done"
    assert updated(hosting, session_id, [CLOSE], RISK).state == "done"
    audited = hosting.rows("SELECT outcome FROM audit WHERE session_id = :id AND actor = 'operator'", id=session_id)
    assert [row["outcome"] for row in audited].count("denied") == 4
    stored = hosting.row(session_id)["config"]["auto_stop_conditions"]
    assert [one["condition"] for one in stored] == ["market_close"]


def test_before_it_is_started_whoever_may_update_may_take_rules_away(hosting):
    """Nothing is at risk yet."""
    session_id = hosting.create("regular", config=PUBLISHED)
    assert updated(hosting, session_id, [], OPERATOR).state == "done"


def test_rules_that_were_set_are_judged_at_the_next_sweep_and_old_ones_forgotten(hosting):
    """The edit makes the session due; what took another's place begins to wait anew, what is gone leaves the memory."""
    publish(hosting, vix_level=35.0)
    waits = VIX | {"for_s": 3600}
    session_id = hosting.started("regular", config=PUBLISHED | {"auto_stop_conditions": [waits, waits]})
    evaluate_due(hosting.desk, SYSTEM)
    memory = "SELECT state -> 'rules' AS rules FROM rule_states WHERE session_id = :id"
    assert set(hosting.rows(memory, id=session_id)[0]["rules"]) == {"stop.0", "stop.1"}
    hosting.run("UPDATE session_work SET next_rule_at = now() + interval '1 h' WHERE session_id = :id", id=session_id)
    assert updated(hosting, session_id, [VIX | {"value": 20, "for_s": 1800}], RISK).state == "done"
    assert evaluate_due(hosting.desk, SYSTEM)
    rules = hosting.rows(memory, id=session_id)[0]["rules"]
    assert set(rules) == {"stop.0"}
    [truth] = conditions(explained(hosting, session_id), "stop")
    assert (truth["is"], truth["met"], truth["limit"]) == ("true", False, 20.0)


@pytest.mark.parametrize(
    ("stop", "field"),
    [
        ([{"condition": "vix_abve", "value": 1}], "config.auto_stop_conditions.0.condition"),
        ([VIX, {"condition": "vix_above", "value": "x"}], "config.auto_stop_conditions.1.value"),
    ],
)
def test_bad_rules_of_a_session_are_refused_by_their_path(hosting, stop, field):
    """The command is refused, the rules stay."""
    session_id = hosting.started("regular", config=PUBLISHED)
    before = hosting.row(session_id)["config"]
    refused = updated(hosting, session_id, stop, ANN)
    assert (refused.state, refused.error["facts"]["field"]) == ("refused", field)
    assert hosting.row(session_id)["config"] == before


# --- edits of templates ----------------------------------------------------------------------------------------------

TEMPLATE = "Paper Trading"


def edit(hosting: Hosting, actor: Actor = OPERATOR, command_id: UUID | None = None, name=TEMPLATE, **rules) -> dict:
    """Set rule sets of a template."""
    arguments = TemplateRulesArguments(template_name=name, rules=rules, reason="calmer")
    return set_template_rules(hosting.desk.engine, actor, arguments, command_id or uuid4())


def template(hosting: Hosting, name=TEMPLATE):
    with hosting.desk.engine.connect() as connection:
        return templates.load(connection, name)


def kept_versions(hosting: Hosting, name=TEMPLATE) -> list[reading.TemplateVersion]:
    return reading.versions(hosting.desk.engine, reading.VersionsQuery(template_name=name))


def test_an_edit_of_a_template_is_kept_with_who_and_why_and_new_sessions_have_it(hosting):
    """Version up by one, the old rules kept; sessions that exist keep theirs, new ones have the new ones."""
    earlier = hosting.create("paper_trading")
    before = template(hosting)
    changed = edit(hosting, stop=[VIX], start=[])
    now = template(hosting)
    assert (now.version, changed["version"]) == (before.version + 1, before.version + 1)
    last = kept_versions(hosting)[0]
    assert (last.actor, last.reason, last.version) == ("operator", "calmer", now.version)
    assert set(changed["before"]) == {"auto_stop_conditions", "auto_start_conditions"}
    arguments = CreateFromTemplateArguments(template_name=TEMPLATE)
    made = execute.create_from_template(hosting.desk, ANN, arguments, uuid4()).raise_for_refusal()
    later = hosting.row(made.session_id)
    assert [one["condition"] for one in later["config"]["auto_stop_conditions"]] == ["vix_above"]
    assert later["template_version"] == now.version
    kept = hosting.row(earlier)["config"]["auto_stop_conditions"]
    assert [one["condition"] for one in kept] == [one.condition for one in before.auto_stop_conditions]


def test_an_edit_asked_twice_happens_once_and_an_id_stands_for_one_edit(hosting):
    """The same answer to the same id; another edit under it is a conflict."""
    command_id = uuid4()
    first = edit(hosting, command_id=command_id, stop=[VIX])
    assert edit(hosting, command_id=command_id, stop=[VIX]) == first
    assert template(hosting).version == first["version"]
    with pytest.raises(CommandConflict):
        edit(hosting, command_id=command_id, stop=[])


def test_two_edits_at_once_both_count(hosting):
    """Who comes second begins anew: two versions, two entries, nothing lost."""
    before = template(hosting)
    edits = [threading.Thread(target=edit, args=(hosting,), kwargs={name: [VIX]}) for name in ("stop", "pause")]
    for one in edits:
        one.start()
    for one in edits:
        one.join()
    now = template(hosting)
    assert now.version == before.version + 2
    assert [one.version for one in kept_versions(hosting)[:2]] == [now.version, now.version - 1]
    assert [len(found) for found in (now.auto_stop_conditions, now.auto_pause_conditions)] == [1, 1]


@pytest.mark.parametrize(
    ("rules", "name", "error"),
    [
        ({"stop": [{"condition": "nope"}]}, TEMPLATE, InvalidArgument),
        ({"stop": [{"condition": "vix_above", "value": "high"}]}, TEMPLATE, InvalidArgument),
        ({"begin": [VIX]}, TEMPLATE, InvalidArgument),
        ({}, TEMPLATE, InvalidArgument),
        ({"stop": [VIX]}, "No Such Template", NotFound),
    ],
)
def test_a_bad_edit_leaves_the_template_as_it_was(hosting, rules, name, error):
    """An unknown condition, a wrong value, an unknown set, nothing at all, an unknown template."""
    before = template(hosting)
    with pytest.raises(error):
        edit(hosting, name=name, **rules)
    assert template(hosting) == before


@pytest.mark.parametrize(
    "actor", [VIEWER, Actor("a", frozenset({"agent"})), Actor("o", OPERATOR.roles, sessions=frozenset({"x"}))]
)
def test_who_may_not_edit_rules_is_refused(hosting, actor):
    """Viewers, agents, and tokens that are good for some sessions alone."""
    with pytest.raises(Forbidden):
        edit(hosting, actor, stop=[VIX])
