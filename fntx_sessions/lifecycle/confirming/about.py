"""What a command that takes two people is about: kept as it was when it was asked, compared where it is done.

Whoever agrees agrees to that. Somebody may change it before they speak, or after: then it is not done.
"""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, TextClause, text

from fntx_sessions.database.engine import rows as every
from fntx_sessions.exceptions import NotConfirmed
from fntx_sessions.lifecycle.change import Ask
from fntx_sessions.lifecycle.confirming import rows
from fntx_sessions.lifecycle.confirming.sealing import opened
from fntx_sessions.lifecycle.elsewhere import NOTED
from fntx_sessions.schemas import TemplateContents, Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.state.payloads import Payloads, sealable

Row = Mapping[str, Any]
# {kind: what it was}; kind: session, sessions, template, halt.
Facts = dict[str, Any]

# What people decide of a session; never what its trading, saves and checkpoints change by themselves.
_DECIDED = (
    "session_type", "template_name", "template_version", "account_id", "broker", "roster", "config", "risk_parameters",
    "enabled_strategies", "strategy_parameters",
)  # fmt: skip
_HELD = ("status", "status_since", "status_actor", "status_reason", "holds")
# Of what ends a hold: which one that is, too.
_MORE = {Trigger.RESUME: _HELD, Trigger.RECOVER: _HELD}
_NAMED_AT_MOST = 6
_DEEDS_AT_MOST = 3

OF_SESSIONS = text("""
SELECT action, actor, timestamp FROM audit
WHERE session_id = ANY(CAST(:what AS uuid[])) AND version_after > version_before AND timestamp > :asked_at
ORDER BY timestamp DESC LIMIT :limit
""")
OF_TEMPLATES = text("""
SELECT 'edit_template' AS action, v.actor, v.timestamp FROM template_versions v JOIN templates t USING (template_id)
WHERE t.template_name = ANY(CAST(:what AS text[])) AND v.timestamp > :asked_at
ORDER BY v.timestamp DESC LIMIT :limit
""")
_SESSIONS = text("SELECT * FROM sessions WHERE session_id = ANY(CAST(:ids AS uuid[]))")


def of_session(trigger: Trigger, row: Row, arguments: Mapping[str, Any]) -> Facts:
    """Return what decides what a command does to a session; of its row and facts as the machine reads them."""
    found = {name: row[name] for name in (*_DECIDED, *_MORE.get(trigger, ()))}
    if trigger is Trigger.ACCEPT:
        found["differences"] = row["recovery_data"].get("differences") or []
        found["open_elsewhere"] = (row["pending"] or {}).get(NOTED)
    if arguments.get("clear_latch"):
        found["latched"] = row["latched_dates"]
    return {"session": _plain(found)}


def of_sessions(connection: Connection, trigger: Trigger, ids: list[UUID]) -> Facts:
    """Return which sessions a run is about, each with its status, its account, and a hash of what decides."""
    found = every(connection.execute(_SESSIONS, {"ids": ids}))
    return {"sessions": {str(row["session_id"]): _hashed(trigger, row) for row in found}}


def _hashed(trigger: Trigger, row: Row) -> dict[str, Any]:
    known = orjson.dumps(of_session(trigger, row, {}), option=orjson.OPT_SORT_KEYS)
    shown = {"status": row["status"], "account_id": row["account_id"]}
    return shown | {"settings": sha256(known).hexdigest()[:16]}


def of_template(name: str, version: int | None, contents: TemplateContents | None) -> Facts:
    """Return which version of a template something is made of, or changes; None: there is none of that name."""
    limits = contents.default_risk_parameters if contents else None
    return {"template": {"template_name": name, "version": version, "risk_parameters": _plain(limits)}}


def as_asked(connection: Connection, payloads: Payloads, actor: Actor, command_id: UUID | None) -> Facts | None:
    """Return what a command was about when it was asked; None: it takes one person, or is part of a confirmed one."""
    row = _row(connection, actor, command_id)
    return None if row is None else opened(payloads, row).about


def must_be_as_asked(
    connection: Connection, payloads: Payloads, actor: Actor, command_id: UUID, now: Facts, deeds: TextClause
) -> None:
    """Raise NotConfirmed where what two people agreed to is not what it would be done to now.

    deeds: `OF_SESSIONS` or `OF_TEMPLATES`, which say who changed what.
    """
    row = _row(connection, actor, command_id)
    if row is None:
        return
    before = opened(payloads, row).about or {}
    changed = [what for kind in before for what in _changed(before[kind], now.get(kind))]
    if changed:
        told = f"{_listed(changed)} changed since it was asked{_by(connection, row, before, deeds)}"
        raise NotConfirmed(row["action"], str(row["command_id"]), told)


def session_must_be_as_asked(connection: Connection, payloads: Payloads, row: Row, ask: Ask) -> None:
    """Raise as `must_be_as_asked` for a command on a locked session; one that is taken up again was looked at."""
    if ask.actor.confirmed_by and row["command_state"] == "running":
        now = of_session(ask.trigger, row, ask.arguments)
        must_be_as_asked(connection, payloads, ask.actor, ask.command_id, now, OF_SESSIONS)


def _row(connection: Connection, actor: Actor, command_id: UUID | None) -> dict[str, Any] | None:
    if not actor.confirmed_by or command_id is None:
        return None
    return rows.find(connection, command_id)


def _changed(before: Any, now: Any, path: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            inner = f"{path}.{name}" if path else str(name)
            yield from _changed(before.get(name), now.get(name), inner)
    elif before != now:
        # Texts and lists may hold what only the session's own key opens: the audit, which has this, outlives that.
        shown = all(one is None or isinstance(one, int | float) for one in (before, now))
        yield f"{path} {before} -> {now}" if shown else path


def _listed(changed: list[str]) -> str:
    left = len(changed) - _NAMED_AT_MOST
    return ", ".join(changed[:_NAMED_AT_MOST]) + (f" and {left} more" if left > 0 else "")


def _by(connection: Connection, row: Row, before: Facts, deeds: TextClause) -> str:
    what = {"session": [row["session_id"]], "sessions": list(before.get("sessions", {}))}
    template = before.get("template", {})
    what["template"] = [template.get("template_name"), str(template.get("copy_of", "")).rpartition(" at version ")[0]]
    bound = {"what": what[next(iter(before))], "asked_at": row["asked_at"], "limit": _DEEDS_AT_MOST}
    found = connection.execute(deeds, bound).all()
    told = "; ".join(f"{one.action} by {one.actor} at {one.timestamp:%Y-%m-%d %H:%M:%S} UTC" for one in found)
    return f" ({told})" if told else ""


def _plain(value: Any) -> Any:
    return orjson.loads(sealable(value))
