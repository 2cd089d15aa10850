"""fntx.sweeps.*: what beat sends. Each brings one part of the desk up to now."""

from fntx_sessions.agents import guarding, host
from fntx_sessions.automation import backtests, bulk, intake, liveness, pending, remembering, retaining, saving, weeks
from fntx_sessions.automation.health import sweep as health
from fntx_sessions.automation.rules import sweep as rules
from fntx_sessions.automation.sweeps import note_run, until_done
from fntx_sessions.lifecycle import outbox, owed
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.security import refusals
from fntx_sessions.security.actor import Actor
from fntx_sessions.state import checkpoints, erasing
from fntx_sessions.trading import market_history
from tasks import second
from tasks.base import sweep
from tasks.desk import desk
from tasks.signals import host_id

_OWED_AT_ONCE = 500


def _noted(name: str) -> Desk:
    """Return the desk, with it noted that this sweep runs now."""
    at = desk()
    note_run(at.engine, name)
    return at


@sweep("fntx.sweeps.relay")
def relay() -> None:
    """Relay what follows commits and was not relayed at once."""
    at = _noted("relay")
    outbox.relay_due(at.engine, at.redis, at.settings)


@sweep("fntx.sweeps.step")
def step() -> None:
    """Step the hosted agents of the sessions that are due."""
    at = _noted("step")
    saving.come_in(at, for_others=True)
    host.step_due(at, host_id(), stay_s=at.settings.step_stay_s)


@sweep("fntx.sweeps.guard")
def guard() -> None:
    """Step the manager's guards of open positions while no agents worker lives."""
    at = _noted("guard")
    guarding.guard_due(at, host_id())


@sweep("fntx.sweeps.save")
def save() -> None:
    """Save the sessions that are due; while Postgres is away, into the backup folder."""
    saving.save_sweep(desk())


@sweep("fntx.sweeps.checkpoint")
def checkpoint() -> None:
    """Take the checkpoints that are due."""
    at = _noted("checkpoint")
    until_done(
        lambda: checkpoints.checkpoint_due(*at.parts()).claimed, at.settings.checkpoint_batch, at.settings.state_sweep_s
    )


@sweep("fntx.sweeps.pending")
def finish_pending(actor: Actor) -> None:
    """Finish pending starts, stops and recoveries."""
    at = _noted("pending")
    pending.finish_pending(at, actor)


@sweep("fntx.sweeps.liveness")
def watch(actor: Actor) -> None:
    """Take over the sessions of lost hosts."""
    liveness.watch(desk(), actor)


@sweep("fntx.sweeps.health")
def look_at_health(actor: Actor) -> None:
    """Look at every started session and at the desk; suspend and heal what failed."""
    from fntx_sessions.stack.desk_health import alert_desk  # noqa: PLC0415 - Alembic, which no other sweep needs

    health.sweep(desk(), actor)
    alert_desk(desk())


@sweep("fntx.sweeps.rules")
def judge_rules(actor: Actor) -> None:
    """Judge the rules that are due, and ask for what they say."""
    at = _noted("rules")
    rules.evaluate_due(at, actor)


@sweep("fntx.sweeps.backtest")
def advance_backtests() -> None:
    """Hand out the days of backtests and collect their results."""
    at = _noted("backtest")
    backtests.advance(at)


@sweep("fntx.sweeps.intake")
def take_in_records() -> None:
    """Take in what agents of other services told."""
    at = _noted("intake")
    intake.take_in(at)


@sweep("fntx.sweeps.bulk")
def advance_bulk_runs() -> None:
    """Do the waves of bulk runs that are due."""
    at = _noted("bulk")
    bulk.advance_due(at, at.settings.bulk_sweep_s)


@sweep("fntx.sweeps.confirmations")
def settle_confirmations(actor: Actor) -> None:
    """End what nobody confirmed in time, do what was confirmed and left, and write what the audit is owed."""
    at = _noted("confirmations")
    second.bring_up_to_now(actor)
    owed.pay_oldest(at.engine, _OWED_AT_ONCE)


@sweep("fntx.sweeps.memory")
def remember() -> None:
    """Remember transitions, and tell agents of them."""
    at = _noted("memory")
    remembering.remember(at)


@sweep("fntx.sweeps.erase")
def erase_shredded() -> None:
    """Erase what is left of shredded sessions."""
    at = _noted("erase")
    erasing.erase_due(*at.parts())


@sweep("fntx.sweeps.retention")
def move_checkpoints() -> None:
    """Move old checkpoints to the cold store."""
    at = _noted("retention")
    retaining.move_checkpoints(at)


@sweep("fntx.sweeps.archive")
def archive_sessions() -> None:
    """Archive closed sessions, and let go of those whose time in Postgres is over."""
    at = _noted("archive")
    retaining.archive_sessions(at)


@sweep("fntx.sweeps.archive_keys")
def write_cold_keys() -> None:
    """Copy the wrapped keys of running sessions into the cold store."""
    at = _noted("archive_keys")
    retaining.write_cold_keys(at)


@sweep("fntx.sweeps.anchor")
def anchor_chains() -> None:
    """Write where the audit's chains end to the cold store."""
    at = _noted("anchor")
    retaining.anchor_chains(at)


@sweep("fntx.sweeps.archive_segments")
def seal_weeks() -> None:
    """Seal old weeks of long sessions' history."""
    at = _noted("archive_segments")
    weeks.seal_weeks(at)


@sweep("fntx.sweeps.prune_partitions")
def turn_weeks() -> None:
    """Make the coming weeks' partitions, drop old ones whose rows are proven to be elsewhere, forget what is old."""
    at = _noted("prune_partitions")
    weeks.turn_weeks(at)
    bulk.forget_old(at.engine, at.settings)
    market_history.forget_old(at.engine, at.settings)
    remembering.forget(at)
    refusals.forget_old(at.engine, at.settings.refused_callers_keep_s)


@sweep("fntx.sweeps.prune_parts")
def prune_parts() -> None:
    """Collect large parts that nobody names."""
    at = _noted("prune_parts")
    saving.prune_parts(at)
