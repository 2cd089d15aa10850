"""What judging has to tell of a session as events: limits near or broken, each once a trade date, lost data once."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import uuid5

from fntx_sessions.automation.limits import Breach
from fntx_sessions.automation.rules.judgement import Judged, Kept
from fntx_sessions.automation.rules.model import SessionFacts
from fntx_sessions.schemas import Severity

Event = dict[str, Any]
# A hosted RiskManagerAgent says this itself, at the very bar.
_SAID_BY_AGENTS = "daily_loss_exceeded"


def tell(
    kept: Kept,
    judged: Judged,
    session: SessionFacts | None,
    found: Sequence[Breach],
    day: date,
    near: Sequence[tuple[str, str]] = (),
) -> Kept:
    """Return a judgement with the events that are new in it; told again, after a kill, an event is the same one.

    near: (key, sentence) of the session's own limits that are nearly reached.
    """
    told, events = dict(kept.standing.told), []
    for key, event in (*_said(judged, session, found), *_nearly(judged, near)):
        if told.get(key) != day.isoformat():
            told[key] = day.isoformat()
            events.append(_named(judged, f"{key}/{day}", event))
    if judged.verdict.missing and not kept.before.missing:
        events.append(_named(judged, f"missing/{kept.before.sequence}", _missing(judged)))
    told = {key: said for key, said in told.items() if said == day.isoformat()}
    return replace(kept, standing=replace(kept.standing, told=told), events=tuple(events))


def _said(judged: Judged, session: SessionFacts | None, found: Sequence[Breach]) -> Iterable[tuple[str, Event]]:
    guarded = session is not None and session.guarded
    for key, sentence in judged.verdict.warnings:
        if not (guarded and _SAID_BY_AGENTS in key):
            yield f"near/{key}", _event("limit_near", "risk", Severity.WARNING, sentence)
    for breach in found:
        event = _event("limit_broken", "risk", Severity.CRITICAL, breach.why, requires_action=True)
        yield breach_key(breach), event


def _nearly(judged: Judged, near: Sequence[tuple[str, str]]) -> Iterable[tuple[str, Event]]:
    if any(_SAID_BY_AGENTS in key for key, _ in judged.verdict.warnings):
        return ()  # a rule on the same loss has said it
    return ((f"near/{key}", _event("limit_near", "risk", Severity.WARNING, sentence)) for key, sentence in near)


def breach_key(breach: Breach) -> str:
    """Return the name under which a breach was told."""
    return f"broken/{breach.key}"


def _missing(judged: Judged) -> Event:
    stop = {truth.path: truth.why for truth in judged.verdict.truths.get("stop", ())}
    lost = "; ".join(f"{path}: {stop.get(path, 'no data')}" for path in judged.verdict.missing)
    told = f"stop rules cannot be judged for want of data: {lost}"
    return _event("rule_data_missing", "rules", Severity.ERROR, told, requires_action=True)


def _event(kind: str, category: str, severity: Severity, told: str, *, requires_action: bool = False) -> Event:
    return {
        "event_type": kind,
        "event_category": category,
        "severity": severity.value,
        "description": told[:4000],
        "requires_action": requires_action,
    }


def _named(judged: Judged, once: str, event: Event) -> Event:
    return event | {"event_id": str(uuid5(judged.session_id, f"{event['event_type']}/{once}"))}
