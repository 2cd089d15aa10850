"""Creation: what is wrong is named, nothing half made stays, and one command makes one session."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest
from lifecycle_harness import ANN, T, World, check_session, plan_of

from fntx_sessions.exceptions import CommandConflict, FntxError, InvalidArgument, NotFound
from fntx_sessions.lifecycle import creation, templates
from fntx_sessions.lifecycle.arguments import CreateArguments, CreateFromTemplateArguments
from fntx_sessions.lifecycle.change import Ask
from fntx_sessions.parsing import parse
from fntx_sessions.schemas import SessionType

DAY = {"date": "2018-01-03", "open": 2697.85, "high": 2714.37, "low": 2697.77, "close": 2713.06, "vix": 9.15}
PREVIOUS = {"date": "2018-01-02", "open": 2683.73, "high": 2695.89, "low": 2682.36, "close": 2695.81, "vix": 9.77}
REPLAYED = {"kind": "replayed", "day": DAY, "previous": PREVIOUS}
MADE = (
    "sessions",
    "session_work",
    "session_agents",
    "accounts",
    "transitions",
    "audit",
    "outbox",
    "events",
    "commands",
)


@pytest.fixture(scope="module")
def world(module_database_url):
    made = World.over(module_database_url)
    yield made
    made.close()


def counts(world) -> dict[str, int]:
    """Return how many rows there are of everything a creation writes."""
    return {table: world.rows(f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in MADE}


def plan_text(world, text: str) -> creation.Plan:
    """Plan a session from the JSON text a task is sent."""
    arguments = parse(CreateArguments, json.loads(text))
    with world.engine.connect() as connection:
        template = templates.load(connection, templates.BY_TYPE[arguments.session_type])
    return creation.plan(template, arguments, frozenset(), named=False)


def asked(field: str, value: str, session_type: str = "paper_trading") -> str:
    """Return JSON text that sets one field of one section; the value is JSON text itself."""
    section, _, key = field.partition(".")
    inner = f'{{"{key}": {value}}}' if key else value
    return f'{{"session_type": "{session_type}", "{section}": {inner}}}'


BAD = [
    ("session_type", '{"session_type": "weekend"}'),
    ("session_type", "{}"),
    ("colour", '{"session_type": "paper_trading", "colour": "red"}'),
    ("session_id", '{"session_type": "paper_trading", "session_id": "not-an-id"}'),
    ("parent_session_id", '{"session_type": "paper_trading", "parent_session_id": 7}'),
    ("reason", asked("reason", '"' + "x" * 2001 + '"')),
    ("reason", asked("reason", '"nul \\u0000 byte"')),
    ("reason", asked("reason", '"half a \\ud800 pair"')),
    ("config", asked("config", "[]")),
    ("config.save_every_s", asked("config.save_every_s", "5")),
    ("config.save_interval_s", asked("config.save_interval_s", "NaN")),
    ("config.save_interval_s", asked("config.save_interval_s", "-1")),
    ("config.save_interval_s", asked("config.save_interval_s", "1e999")),
    ("config.stop_deadline_s", asked("config.stop_deadline_s", "Infinity")),
    ("config.max_position_hold_time", asked("config.max_position_hold_time", "0")),
    ("config.close_positions_on_stop", asked("config.close_positions_on_stop", '"perhaps"')),
    ("config.tags", asked("config.tags", json.dumps([str(number) for number in range(21)]))),
    ("config.agents", asked("config.agents", "[]")),
    ("config.agents", asked("config.agents", '["Warm", "Warm"]')),
    ("config.account", asked("config.account", '"no spaces, please"')),
    ("config.account", asked("config.account", '""')),
    ("config.broker", asked("config.broker", '"moonbroker"')),
    ("config.calendar", asked("config.calendar", '"MARS"')),
    ("config.auto_start_conditions.0.condition", asked("config.auto_start_conditions", '[{"condition": "full_moon"}]')),
    (
        "config.auto_start_conditions.0.value",
        asked("config.auto_start_conditions", '[{"condition": "vix_below", "value": 1' + "0" * 40 + "}]"),
    ),
    ("config.feed.kind", asked("config.feed", '{"kind": "crystal_ball"}')),
    ("config.feed.seed", asked("config.feed", '{"seed": -1}')),
    ("config.feed.beta", asked("config.feed", '{"beta": 5}')),
    ("config.feed.day", asked("config.feed", '{"kind": "replayed"}')),
    ("config.feed.trade_date", asked("config.feed", '{"trade_date": "2018-13-01"}')),
    ("config.feed.trade_date", asked("config.feed", '{"trade_date": "2018-01-06"}')),
    ("config.feed.day", '{"session_type": "backtest"}'),
    ("config.feed.previous", asked("config.feed", json.dumps(REPLAYED | {"previous": None}))),
    ("config.feed.day", asked("config.feed", json.dumps(REPLAYED | {"day": {"date": "2018-01-03"}}))),
    ("config.feed.day.vix", asked("config.feed", json.dumps(REPLAYED | {"day": DAY | {"vix": "high"}}))),
    ("config.feed.day.close", asked("config.feed", json.dumps(REPLAYED | {"day": DAY | {"close": float("nan")}}))),
    ("config.feed.previous.date", asked("config.feed", json.dumps(REPLAYED | {"previous": DAY}))),
    ("config.feed.day.date", asked("config.feed", json.dumps(REPLAYED | {"day": DAY | {"date": "2018-01-06"}}))),
    ("config.feed.kind", asked("config.feed", '{"kind": "published"}', "backtest")),
    ("risk_parameters.position_limit", asked("risk_parameters.position_limit", "true")),
    ("config.wait_ready_s", asked("config.wait_ready_s", "true")),
    ("config.feed.seed", asked("config.feed", '{"seed": true}')),
    ("risk_parameters.max_risk", asked("risk_parameters.max_risk", "1")),
    ("risk_parameters.max_daily_risk", asked("risk_parameters.max_daily_risk", "NaN")),
    ("risk_parameters.max_daily_risk", asked("risk_parameters.max_daily_risk", "-0.02")),
    ("risk_parameters.max_daily_risk", asked("risk_parameters.max_daily_risk", "-Infinity")),
    ("risk_parameters.position_limit", asked("risk_parameters.position_limit", "1e400")),
    ("risk_parameters.position_limit", asked("risk_parameters.position_limit", "1" + "0" * 50)),
    ("risk_parameters.position_limit", asked("risk_parameters.position_limit", "2.5")),
    ("risk_parameters.stop_loss_multiplier", asked("risk_parameters.stop_loss_multiplier", "1")),
    ("risk_parameters.take_profit_multiplier", asked("risk_parameters.take_profit_multiplier", '"half"')),
    ("enabled_strategies", asked("enabled_strategies", '["sell_everything"]')),
    ("enabled_strategies", asked("enabled_strategies", '["sell_put", "sell_put"]')),
    ("enabled_strategies", asked("enabled_strategies", '"sell_put"')),
    ("strategy_parameters.buy_call", asked("strategy_parameters", '{"buy_call": {}}')),
    ("strategy_parameters.sell_put.delta", asked("strategy_parameters", '{"sell_put": {"delta": 0.5}}')),
    ("strategy_parameters.sell_put.entry_time", asked("strategy_parameters", '{"sell_put": {"entry_time": "25:00"}}')),
]


@pytest.mark.parametrize(("field", "text"), BAD, ids=[f"{number}-{field}" for number, (field, _) in enumerate(BAD)])
def test_bad_input_names_its_field_and_writes_nothing(world, field, text):
    """One sentence that leads with the field and says what to do; not a row of anything."""
    before = counts(world)
    with pytest.raises(InvalidArgument) as caught:
        plan_text(world, text)
    named, problem, fix = caught.value.args
    assert named == field or named.startswith(f"{field}.")
    assert problem
    assert fix
    assert counts(world) == before


def test_a_good_replayed_feed_is_taken(world):
    """What the bad ones above differ from."""
    planned = plan_text(world, asked("config.feed", json.dumps(REPLAYED)))
    assert planned.config["feed"]["day"] == DAY


def test_an_unknown_template_names_those_there_are(world):
    """So that the caller can choose."""
    with world.engine.connect() as connection, pytest.raises(NotFound, match="Paper Trading"):
        templates.load(connection, "Weekend Trading")


def test_a_created_session_is_whole(world):
    """Row, work, agents, first transition, first audit row, event and follow-up, in one commit."""
    before = counts(world)
    session_id = world.create(config={"tags": ["a"], "save_interval_s": 7})
    grown = {table: number - before[table] for table, number in counts(world).items()}
    assert grown == dict.fromkeys(MADE, 1) | {"session_agents": 5}
    row = world.row(session_id)
    assert (row["status"], row["version"], row["epoch"], row["tags"]) == ("initializing", 1, 0, ["a"])
    assert row["config"]["save_interval_s"] == 7
    assert row["account_id"] == f"paper:{session_id}"
    check_session(world, session_id)


def test_delivered_twice_it_makes_one_session(world):
    """The second answer is the first one, and no row is added by it."""
    session_id, command_id = uuid4(), uuid4()
    first = world.create_outcome(session_id, command_id)
    before = counts(world)
    assert world.create_outcome(session_id, command_id) == replace(first, repeated=True)
    assert counts(world) == before


def test_delivered_from_eight_sides_it_makes_one_session(module_database_url):
    """All answer alike; one of them made it."""
    world = World.over(module_database_url, db_pool_size=8)
    session_id, command_id, together = uuid4(), uuid4(), threading.Barrier(8)
    planned = plan_of(world.engine)
    ask = Ask(T.CREATE, session_id, ANN, "", command_id, {})

    def deliver(_):
        together.wait()
        return creation.create(world.engine, world.settings, ask, planned)

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(deliver, range(8)))
    assert sum(not outcome.repeated for outcome in outcomes) == 1
    assert all(replace(outcome, repeated=True) == replace(outcomes[0], repeated=True) for outcome in outcomes)
    check_session(world, session_id)
    world.close()


def test_the_same_command_for_another_session_is_a_conflict(world):
    """An id stands for what it first stood for."""
    command_id = uuid4()
    world.create(command_id=command_id)
    other = uuid4()
    outcome = world.create_outcome(other, command_id)
    assert isinstance(FntxError.from_dict(outcome.error), CommandConflict)
    assert world.rows("SELECT 1 FROM sessions WHERE session_id = :id", id=other) == []


def test_a_taken_id_is_refused_and_the_session_left_alone(world):
    """Refused by field, stored as an outcome."""
    session_id = world.create()
    before = world.row(session_id)
    command_id = uuid4()
    outcome = world.create_outcome(session_id, command_id)
    error = FntxError.from_dict(outcome.error)
    assert isinstance(error, InvalidArgument)
    assert error.args[0] == "session_id"
    assert world.create_outcome(session_id, command_id) == replace(outcome, repeated=True)
    assert world.row(session_id) == before


def test_an_id_taken_at_that_very_moment_is_refused_the_same_way(module_database_url):
    """Eight commands for one id at once: one session, seven refusals by field, no raw database error."""
    world = World.over(module_database_url, db_pool_size=8)
    session_id, together = uuid4(), threading.Barrier(8)

    def make(_):
        together.wait()
        return world.create_outcome(session_id, uuid4())

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(make, range(8)))
    assert sorted(outcome.state for outcome in outcomes) == ["done"] + ["refused"] * 7
    assert {FntxError.from_dict(outcome.error).args[0] for outcome in outcomes if outcome.error} == {"session_id"}
    world.close()


def test_an_unknown_parent_is_refused_by_field(world):
    """And a known one is kept."""
    outcome = world.create_outcome(uuid4(), uuid4(), parent_session_id=uuid4())
    assert FntxError.from_dict(outcome.error).args[0] == "parent_session_id"
    parent = world.create()
    child = world.create(parent_session_id=parent)
    assert world.row(child)["parent_session_id"] == parent


def test_an_account_of_another_broker_is_refused(world):
    """Nobody trades paper in a live account's books, or the other way round."""
    world.execute("INSERT INTO accounts (account_id, kind, equity) VALUES ('live-1', 'live', 1000)")
    outcome = world.create_outcome(uuid4(), uuid4(), config={"account": "live-1"})
    assert FntxError.from_dict(outcome.error).args[0] == "config.account"


def test_a_new_account_is_made_and_said_so(world):
    """A name nobody used before may be a mistyped one."""
    account = f"desk-{uuid4().hex[:8]}"
    first = world.create_outcome(uuid4(), uuid4(), config={"account": account})
    assert any(account in warning for warning in first.warnings)
    assert world.create_outcome(uuid4(), uuid4(), config={"account": account}).warnings == ()


def test_paper_is_never_taken_for_live(world):
    """A regular session on the paper broker says so in its outcome and its events."""
    outcome = world.create_outcome(uuid4(), uuid4(), session_type=SessionType.REGULAR)
    assert creation.PAPER_NOTICE in outcome.warnings
    told = world.rows("SELECT description FROM events WHERE session_id = :id", id=outcome.session_id)
    assert creation.PAPER_NOTICE in [row["description"] for row in told]


FLAT = {"save_interval_s": 9, "position_limit": 2, "enabled_strategies": ["sell_call"]}
SECTIONS = {
    "config": {"save_interval_s": 9},
    "risk_parameters": {"position_limit": 2},
    "enabled_strategies": ["sell_call"],
}


def overridden(world, overrides, name="Paper Trading"):
    with world.engine.connect() as connection:
        template = templates.load(connection, name)
    arguments = CreateFromTemplateArguments(template_name=name, overrides=overrides)
    return creation.plan(template, creation.from_template(template, arguments), frozenset(), named=True)


@pytest.mark.parametrize(
    "overrides", [FLAT, SECTIONS, FLAT | {"config": {"tags": ["x"]}}], ids=["flat", "sections", "both"]
)
def test_overrides_are_taken_flat_and_by_section(world, overrides):
    """What is not overridden stays the template's; what the caller passed in is not written to."""
    kept = json.dumps(overrides)
    planned = overridden(world, overrides)
    assert planned.config["save_interval_s"] == 9
    assert planned.risk_parameters["position_limit"] == 2
    assert planned.risk_parameters["max_daily_risk"] == 0.05
    assert planned.enabled_strategies == ["sell_call"]
    assert planned.config["feed"]["kind"] == "synthetic"
    assert json.dumps(overrides) == kept


def test_a_sections_dict_is_not_written_to(world):
    """A flat key beside its section is merged into a copy."""
    overrides = {"config": {"tags": ["x"]}, "save_interval_s": 9}
    overridden(world, overrides)
    assert overrides == {"config": {"tags": ["x"]}, "save_interval_s": 9}


@pytest.mark.parametrize(
    ("field", "overrides"),
    [
        ("overrides.save_every_s", {"save_every_s": 5}),
        ("overrides.config", {"config": 5}),
        ("overrides.enabled_strategies", {"enabled_strategies": "sell_put"}),
        ("config.save_interval_s", {"save_interval_s": -1}),
        ("config.nonsense", {"config": {"nonsense": 1}}),
        ("risk_parameters.position_limit", {"position_limit": 0}),
    ],
)
def test_a_bad_override_names_its_key(world, field, overrides):
    """Unknown keys and impossible values alike."""
    with pytest.raises(InvalidArgument) as caught:
        overridden(world, overrides)
    assert caught.value.args[0] == field


def test_a_templates_use_is_counted_when_it_is_named(world):
    """Once per session, not per delivery."""
    used = "SELECT usage_count, last_used FROM templates WHERE template_name = 'Paper Trading'"
    before = world.rows(used)[0]["usage_count"]
    planned = overridden(world, {})
    ask = Ask(T.CREATE, uuid4(), ANN, "", uuid4(), {})
    for _ in range(2):
        creation.create(world.engine, world.settings, ask, planned)
    after = world.rows(used)[0]
    assert after["usage_count"] == before + 1
    assert after["last_used"] is not None
