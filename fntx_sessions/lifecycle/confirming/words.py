"""What waits for a second person, in words: what it moves, and what it is about, before all else that was given."""

from collections.abc import Iterator
from typing import Any

from fntx_sessions.exceptions import verb
from fntx_sessions.lifecycle.confirming.sealing import Asked
from fntx_sessions.lifecycle.decisions.limits import limit_changes, moves

Json = dict[str, Any]
_NOT_TOLD = frozenset({"session_id", "reason", "command_id", "fntx_token"})
_CHARACTERS = 300
_MORE = " ... ({} more characters: `fntx confirmations show ID`)"


def words(action: str, asked: Asked | None) -> list[str]:
    """Return all that a command comes to, what matters most first; None: it cannot be read any more."""
    if asked is None:
        return [f"{verb(action)}: what with cannot be read any more"]
    return [verb(action), *_about(asked), *_given(asked.arguments)]


def brief(told: list[str]) -> str:
    """Return words in a line; it says how much does not fit."""
    line = " ".join([told[0], "; ".join(told[1:])]).strip()
    left = len(line) - _CHARACTERS
    return line if left <= 0 else line[:_CHARACTERS] + _MORE.format(left)


def _about(asked: Asked) -> Iterator[str]:
    for kind, facts in (asked.about or {}).items():
        yield from _TOLD[kind](facts, asked.arguments)


def _session(facts: Json, arguments: Json) -> Iterator[str]:
    config, risk = arguments.get("config") or {}, arguments.get("risk_parameters") or {}
    yield from moves(limit_changes(facts, {"config": config, "risk_parameters": risk}))
    if "latched" in facts:
        yield f"loss limit latch of {', '.join(sorted(facts['latched'])) or 'no day'}"
    if "status" in facts:
        why = facts["status_reason"] or "no reason given"
        yield f"{facts['status']} by {facts['status_actor']} since {_moment(facts['status_since'])}: {why}"
    for one in facts.get("differences", ()):
        yield "difference " + ", ".join(f"{name} {value}" for name, value in one.items())
    yield f"account {facts['account_id']} at {facts['broker']}"
    yield "limits as they were: " + _limits(facts["risk_parameters"])


def _sessions(facts: Json, _: Json) -> Iterator[str]:
    yield f"{len(facts)} sessions"
    for session_id, one in facts.items():
        yield f"session {session_id}, {one['status']}, account {one['account_id']}"


def _template(facts: Json, _: Json) -> Iterator[str]:
    version = "new" if facts["version"] is None else f"at version {facts['version']}"
    yield f"template {facts['template_name']}, {version}"
    if "copy_of" in facts:
        yield f"begun as {facts['copy_of']}"
    if facts["risk_parameters"]:
        yield "limits it had: " + _limits(facts["risk_parameters"])


def _halt(facts: Json, _: Json) -> Iterator[str]:
    where = facts["scope"] if facts["scope_name"] is None else f"{facts['scope']}:{facts['scope_name']}"
    since = _moment(facts["created_at"])
    yield f"halt of {where} by {facts['actor']} since {since}: {facts['reason']} (halt {facts['halt_id']})"


def _limits(limits: Json) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(limits.items()))


def _moment(at: str) -> str:
    return f"{at[:19].replace('T', ' ')} UTC"


_TOLD = {"session": _session, "sessions": _sessions, "template": _template, "halt": _halt}


def _given(arguments: Json) -> Iterator[str]:
    for name, value in arguments.items():
        if name not in _NOT_TOLD:
            yield f"{name}={value}"
