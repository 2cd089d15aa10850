"""Which failures suspend a session, and when none does: because the fault is more likely the desk's own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid5

import structlog
from sqlalchemy import text

from fntx_sessions.agents.runner import quarantined
from fntx_sessions.automation.health.checks import NAMES
from fntx_sessions.automation.health.facts import HealthFacts
from fntx_sessions.automation.health.model import Check, Grade
from fntx_sessions.automation.health.rows import Looked
from fntx_sessions.database.engine import statements
from fntx_sessions.exceptions import FntxError, InvalidArgument
from fntx_sessions.lifecycle import execute
from fntx_sessions.lifecycle.arguments import SuspendArguments
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import SessionStatus, Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.settings import Settings

log = structlog.get_logger(__name__)
_RUNNING = frozenset({SessionStatus.ACTIVE, SessionStatus.PAUSED})
_STORM = text("""
SELECT count(*) AS running, count(*) FILTER (WHERE h.grade = 'failed' AND EXISTS (
  SELECT FROM jsonb_array_elements(h.checks) c WHERE c ->> 'grade' = 'failed' AND c ->> 'name' = ANY(:names))) AS failed
FROM session_work w LEFT JOIN session_health h USING (session_id)
WHERE w.next_health_at IS NOT NULL AND w.status IN ('active', 'paused')
""")


@dataclass(slots=True)
class Suspended:
    """What became of the sessions that were to be suspended."""

    done: list[UUID] = field(default_factory=list)
    refused: dict[UUID, str] = field(default_factory=dict)
    capped: int = 0


def suspending(names: str, variable: str) -> frozenset[str]:
    """Return the names of checks a setting lists; raises InvalidArgument for one there is not."""
    listed = frozenset(filter(None, (name.strip() for name in names.split(","))))
    if unknown := sorted(listed - set(NAMES)):
        raise InvalidArgument(variable, f"{', '.join(unknown)} is no check", f"Known are {', '.join(NAMES)}.")
    return listed


def causes(one: Looked, settings: Settings) -> list[Check]:
    """Return the failed checks that suspend a session; none where it does not run, or where others care for it."""
    if one.facts.status not in _RUNNING:
        return []
    at_once, repeated = _named(settings)
    failed_before = {check["name"] for check in one.facts.before if check["grade"] == Grade.FAILED}
    again = repeated & failed_before
    return [check for check in one.failed if check.name in at_once | again and not _others_care(one.facts, check)]


def _named(settings: Settings) -> tuple[frozenset[str], frozenset[str]]:
    """Return the checks that suspend at once, and those that do when they failed twice."""
    return (
        suspending(settings.health_suspends, "FNTX_HEALTH_SUSPENDS"),
        suspending(settings.health_suspends_repeated, "FNTX_HEALTH_SUSPENDS_REPEATED"),
    )


def _others_care(facts: HealthFacts, check: Check) -> bool:
    """Tell whether a worker is to blame: liveness takes its sessions over; without any, no guard would step either."""
    lost = facts.host.lost_s > 0 if facts.host else not facts.attended
    return lost and any(one.hosted for one in facts.agents) and check.name in ("agent_dead", "agent_hung")


def storm(desk: Desk) -> str:
    """Say that so many running sessions fail together that the fault must be the desk's own; empty: they do not."""
    settings = desk.settings
    names = sorted(frozenset.union(*_named(settings)))
    with statements(desk.engine) as connection:
        found = connection.execute(_STORM, {"names": names}).one()
    if found.failed < settings.health_storm_sessions or found.failed <= settings.health_storm_fraction * found.running:
        return ""
    return f"{found.failed} of {found.running} running sessions fail at once"


def suspend(desk: Desk, actor: Actor, looked: Sequence[Looked]) -> Suspended:
    """Suspend the sessions whose failures ask for it, at most `health_suspensions_per_sweep`; each is healed later."""
    done = Suspended()
    most = desk.settings.health_suspensions_per_sweep
    for one, why in _to_suspend(looked, desk.settings):
        if len(done.done) + len(done.refused) >= most:
            done.capped += 1
            continue
        _suspend_one(desk, actor, one.facts, why, done)
    return done


def _to_suspend(looked: Sequence[Looked], settings: Settings) -> Iterator[tuple[Looked, list[Check]]]:
    return ((one, why) for one in looked if (why := causes(one, settings)))


def _suspend_one(desk: Desk, actor: Actor, facts: HealthFacts, why: list[Check], done: Suspended) -> None:
    to_do = _to_do(facts, why)
    arguments = SuspendArguments(
        session_id=facts.session_id,
        reason="; ".join(f"{check.name}: {check.reason}" for check in why)[:2000],
        expected_version=facts.version,
        heal_after_s=None if to_do else backoff_s(facts.attempts, desk.settings),
        causes=[check.name for check in why],
        to_do=to_do,
    )
    # Made of the version: whoever else sees the same failure asks the same command.
    command_id = uuid5(facts.session_id, f"health/{facts.version}")
    try:
        execute.command(desk, Trigger.SUSPEND, actor, arguments, command_id).raise_for_refusal()
    except FntxError as error:
        done.refused[facts.session_id] = str(error)
        log.warning("health_suspension_refused", session_id=str(facts.session_id), problem=str(error))
    else:
        done.done.append(facts.session_id)


def _to_do(facts: HealthFacts, why: list[Check]) -> str:
    """Return what a person has to do where an agent is quarantined: no recovery by itself gives it another chance."""
    told = [quarantined(check.subject, facts.session_id) for check in why if check.name == "agent_quarantined"]
    return told[0][:2000] if told else ""


def backoff_s(attempts: int, settings: Settings) -> float:
    """Return how long the recovery after `attempts` others has to wait: the first not at all, then doubling."""
    return settings.recovery_backoff_s * 2 ** (attempts - 1) if attempts else 0.0
