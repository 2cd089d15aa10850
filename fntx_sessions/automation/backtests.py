"""Backtest runs: a unit per (day, seed), each a Backtest session of its own on an account of its own.

A run lives in Postgres. The sweep hands its units out as others end and stores what they came to; every command it asks
has an id that follows from run, day and seed, so that a sweep killed anywhere is simply run again.
"""

from datetime import date
from typing import Any
from uuid import UUID, uuid5

import orjson
import structlog
from sqlalchemy import Engine

from fntx_sessions.agents.registry import known_agents
from fntx_sessions.automation import backtest_results, backtest_rows
from fntx_sessions.automation.backtest_arguments import BacktestArguments, check_overrides, checked_days
from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import CommandConflict, FntxError, InvalidArgument, NotFound, Rejected
from fntx_sessions.lifecycle import creation, desk_audit, execute, templates
from fntx_sessions.lifecycle.arguments import CreateFromTemplateArguments, StartArguments
from fntx_sessions.lifecycle.desk_audit import Deed
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import SessionType, Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import BACKTEST, authorize
from fntx_sessions.trading.days import Day

log = structlog.get_logger(__name__)
TAG = "backtest:"
_BATCH = 500
Row = dict[str, Any]


def create(engine: Engine, actor: Actor, arguments: BacktestArguments, run_id: UUID) -> Row:
    """Store a run and return its status; asked twice under one id, it is there once.

    Raises Forbidden, InvalidArgument naming the day or the override, NotFound for the template, CommandConflict when
    `run_id` stands for another run.
    """
    authorize(actor, BACKTEST)
    days = checked_days(arguments)
    check_overrides(arguments.overrides)
    spec = _spec(actor, arguments, days)
    run = {"run_id": run_id, "spec": orjson.dumps(spec).decode(), "actor": actor.name}
    with transaction(engine) as connection:
        _check_first_unit(templates.usable(templates.load(connection, arguments.template_name)), run_id, spec)
        if backtest_rows.register(connection, run, _units(run_id, days, arguments)):
            desk_audit.record_in(connection, actor, _deed(run_id, "begun"))
        else:
            stored = backtest_rows.load(connection, run_id)
            if stored is None or stored["spec"] != spec:
                raise CommandConflict(str(run_id), "a backtest")
    return status(engine, run_id)


def _spec(actor: Actor, arguments: BacktestArguments, days: list[Day]) -> Row:
    own = arguments.model_dump(mode="json", exclude={"days"})
    return own | {"roles": sorted(actor.roles), "days": [day.to_json() for day in days]}


def _units(run_id: UUID, days: list[Day], arguments: BacktestArguments) -> dict[str, list[Any]]:
    seeds = range(arguments.seed0, arguments.seed0 + arguments.seeds)
    pairs = [(day.date, seed) for day in days[1:] for seed in seeds]
    return {
        "dates": [day for day, _ in pairs],
        "seeds": [seed for _, seed in pairs],
        "ids": [uuid5(run_id, f"{day}/{seed}") for day, seed in pairs],
    }


def _check_first_unit(template: Any, run_id: UUID, spec: Row) -> None:
    """Refuse at once what every single unit would be refused for."""
    if template.session_type is not SessionType.BACKTEST:
        raise InvalidArgument(
            "template_name", f"{template.template_name!r} is not a template of backtests", "Use 'Backtest'."
        )
    first = date.fromisoformat(spec["days"][1]["date"])
    asked = _session(spec, {"run_id": run_id, "trade_date": first, "seed": spec["seed0"], "session_id": run_id})
    creation.plan(template, creation.from_template(template, asked), frozenset(known_agents()), named=True)


def status(engine: Engine, run_id: UUID) -> Row:
    """Return a run: what was asked, and how many of its units are waiting, running, done and failed."""
    with transaction(engine) as connection:
        return _status(run_id, backtest_rows.load(connection, run_id), backtest_results.counts(connection, run_id))


def report(engine: Engine, run_id: UUID) -> Row:
    """Return a run's status and its results by day and by year; raises NotFound."""
    found = status(engine, run_id)
    with transaction(engine) as connection:
        return found | backtest_results.summary(connection, run_id)


def _status(run_id: UUID, row: Row | None, counts: dict[str, int]) -> Row:
    if row is None:
        raise _unknown(run_id)
    days = row["spec"].pop("days")
    row["spec"].pop("roles")
    unfinished = counts["waiting"] + counts["running"]
    return {
        **row,
        "first_day": days[1]["date"],
        "last_day": days[-1]["date"],
        "units": sum(counts.values()),
        "counts": counts,
        "finished": unfinished == 0,
    }


def _unknown(run_id: UUID) -> NotFound:
    return NotFound("backtest run", str(run_id), "See `fntx backtest --runs`.")


def stop(engine: Engine, actor: Actor, run_id: UUID) -> Row:
    """Hand out no more units; those that run go on to their end. Returns the status; raises NotFound, Forbidden."""
    authorize(actor, BACKTEST)
    with transaction(engine) as connection:
        if backtest_rows.stop(connection, run_id):
            desk_audit.record_in(connection, actor, _deed(run_id, "stopped"))
    return status(engine, run_id)


def resume(engine: Engine, actor: Actor, run_id: UUID) -> Row:
    """Go on with a stopped run where it was. Returns the status; raises NotFound, Forbidden."""
    authorize(actor, BACKTEST)
    with transaction(engine) as connection:
        if backtest_rows.resume(connection, run_id):
            desk_audit.record_in(connection, actor, _deed(run_id, "resumed"))
    return status(engine, run_id)


def _deed(run_id: UUID, what: str) -> Deed:
    return Deed(BACKTEST, "done", f"backtest {run_id}: {what}", command_id=run_id)


def recent(engine: Engine, limit: int) -> list[Row]:
    """Return the newest runs."""
    with transaction(engine) as connection:
        return backtest_rows.recent(connection, limit)


# --- the sweep -------------------------------------------------------------------------------------------------


def advance(desk: Desk) -> dict[str, int]:
    """Store what ended, then hand out until `backtest_in_flight` units run; returns how many of each."""
    collected = _collect(desk.engine)
    with transaction(desk.engine) as connection:
        claimed = backtest_rows.claim(connection, desk.settings.backtest_in_flight)
        begun = backtest_rows.unbegun(connection, _BATCH)
        specs = {run_id: backtest_rows.load(connection, run_id) for run_id in {unit["run_id"] for unit in begun}}
    failed = [failure for unit in begun if (failure := _begin(desk, specs[unit["run_id"]], unit)) is not None]
    _record(desk.engine, failed)
    return {"collected": collected, "claimed": claimed, "begun": len(begun) - len(failed), "refused": len(failed)}


def _begin(desk: Desk, run: Row | None, unit: Row) -> Row | None:
    """Create and start one unit's session; returns the unit's failure when that is refused."""
    if run is None:
        return None
    actor = Actor(run["actor"], frozenset(run["spec"]["roles"]), simulated=True)
    name = f"{unit['trade_date']}/{unit['seed']}"
    start = StartArguments(session_id=unit["session_id"], reason="backtest")
    try:
        made = execute.create_from_template(
            desk, actor, _session(run["spec"], unit), uuid5(unit["run_id"], f"{name}/create")
        )
        made.raise_for_refusal()
        execute.command(desk, Trigger.START, actor, start, uuid5(unit["run_id"], f"{name}/start")).raise_for_refusal()
    except Rejected as error:
        return _failure(unit, str(error))
    except FntxError as error:
        log.warning("backtest_unit_waits", session_id=str(unit["session_id"]), problem=str(error))
    return None


def _session(spec: Row, unit: Row) -> CreateFromTemplateArguments:
    """Return the session of one unit: the run's overrides, its day and seed as the feed, the run's tag."""
    days = spec["days"]
    at = next(number for number, day in enumerate(days) if day["date"] == unit["trade_date"].isoformat())
    overrides = orjson.loads(orjson.dumps(spec["overrides"]))
    feed = {"kind": "replayed", "seed": unit["seed"], "day": days[at], "previous": days[at - 1]}
    templates.merge_into(overrides, {"config": {"feed": feed, "tags": [f"{TAG}{unit['run_id']}"]}})
    return CreateFromTemplateArguments(
        template_name=spec["template_name"],
        session_id=unit["session_id"],
        overrides=overrides,
        reason=f"backtest {unit['trade_date']} seed {unit['seed']}",
    )


def _collect(engine: Engine) -> int:
    with transaction(engine) as connection:
        ended = backtest_rows.ended(connection, _BATCH)
        closed = [unit["session_id"] for unit in ended if unit["status"] == "closed"]
        results = backtest_results.unit_results(connection, closed) if closed else {}
    return _record(engine, [_found(unit, results) for unit in ended])


def _found(unit: Row, results: dict[UUID, Row]) -> Row:
    if unit["status"] != "closed":
        return _failure(unit, unit["requires_action"] or unit["status_reason"] or unit["status"])
    return _unit(unit) | {"state": "done", "result": results[unit["session_id"]]}


def _failure(unit: Row, why: str) -> Row:
    return _unit(unit) | {"state": "failed", "result": {"error": why}}


def _unit(unit: Row) -> Row:
    return {name: unit[name] for name in ("run_id", "trade_date", "seed")}


def _record(engine: Engine, found: list[Row]) -> int:
    if not found:
        return 0
    with transaction(engine) as connection:
        return backtest_rows.record(connection, orjson.dumps(found).decode())
