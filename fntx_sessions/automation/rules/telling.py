"""What judging has to tell of a session as events: limits near or broken, each once a trade date, lost data once."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import uuid5

from fntx_sessions.automation.limits import Breach
from fntx_sessions.automation.rules.judgement import Judged, Kept
from fntx_sessions.automation.rules.model import SessionFacts, Truth
from fntx_sessions.schemas import Severity

Event = dict[str, Any]
_LOSS = "daily_loss_exceeded"


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
    for key, event in (*_said(judged, session, found), *_nearly(judged, session, near)):
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
        # A hosted RiskManagerAgent says that of the account's limit itself, at the very bar.
        if not (guarded and _is_accounts(key, session)):
            yield f"near/{key}", _event("limit_near", "risk", Severity.WARNING, sentence)
    for breach in found:
        event = _event("limit_broken", "risk", Severity.CRITICAL, breach.why, requires_action=True)
        yield breach_key(breach), event


def _is_accounts(key: str, session: SessionFacts | None) -> bool:
    """Tell whether a warning is of the account's own loss limit, be it written as true or as the same dollars."""
    limits = [True] if session is None or session.loss_limit is None else [True, float(session.loss_limit)]
    return key in [f"{_LOSS}:{limit}" for limit in limits]


def _nearly(
    judged: Judged, session: SessionFacts | None, near: Sequence[tuple[str, str]]
) -> Iterable[tuple[str, Event]]:
    if any(_is_accounts(key, session) for key, _ in judged.verdict.warnings):
        return ()  # a rule on the same limit has said it
    return ((f"near/{key}", _event("limit_near", "risk", Severity.WARNING, sentence)) for key, sentence in near)


def tell_latched(kept: Kept, fired: Truth, account_id: str, day: date) -> Kept:
    """Return a judgement with the event that a rule's loss limit fired, and what that means for its account."""
    told = (
        f"{fired.why}: account {account_id} is latched for {day}; nothing starts, resumes or opens on it, "
        "unless a risk manager clears it: `fntx update ID --clear-latch`"
    )
    event = _event("loss_limit_fired", "risk", Severity.CRITICAL, told, requires_action=True)
    name = uuid5(kept.session_id, f"loss_limit_fired/{fired.path}/{day}/{kept.before.sequence}")
    return replace(kept, events=(*kept.events, event | {"event_id": str(name)}))


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
