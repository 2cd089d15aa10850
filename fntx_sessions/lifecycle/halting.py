"""Halts as commands and the order gate see them: the lock that puts them in order, and which stand for a session."""

from typing import Any

from fntx_sessions.exceptions import PreconditionFailed
from fntx_sessions.lifecycle.change import Ask, Row
from fntx_sessions.schemas import Trigger

# What begins to trade takes the lock shared and holds it to its end, a halt takes it alone: whoever began before is
# seen running once the halt is committed, and whoever comes after sees the halt.
LOCK_KEY = "hashtext('fntx_sessions.halts')"
ORDERED = frozenset({Trigger.START, Trigger.RESUME})
SHARED = f"SELECT pg_advisory_xact_lock_shared({LOCK_KEY})"
ALONE = f"SELECT pg_advisory_xact_lock({LOCK_KEY})"


def matches(halt: str) -> str:
    """Return the SQL that tells whether the halt whose row is `halt` is about the session whose row is ``s``.

    One of everything leaves out what plays the past on paper: to end it protects nobody, and spoils a backtest's days.
    """
    return f"""({halt}.scope = 'all' AND NOT (s.session_type = 'backtest' AND s.broker = 'paper')
    OR ({halt}.scope, {halt}.scope_name) IN (
      ('account', s.account_id), ('template', s.template_name), ('session', s.session_id::text)))"""


# Halts that stand for the session whose row is `s`, oldest first, as JSON.
STANDING = f"""(SELECT coalesce(jsonb_agg(jsonb_build_object('halt_id', x.halt_id, 'scope', x.scope,
    'scope_name', x.scope_name, 'reason', x.reason, 'actor', x.actor, 'created_at', x.created_at)
    ORDER BY x.created_at), '[]')
  FROM halts x WHERE x.released_at IS NULL AND {matches("x")})"""


def scope_text(halt: dict[str, Any]) -> str:
    """Return a halt's scope as one writes it: ``all``, ``account:NAME``, ``template:NAME`` or ``session:ID``."""
    return halt["scope"] if halt["scope_name"] is None else f"{halt['scope']}:{halt['scope_name']}"


def told(halts: list[dict[str, Any]]) -> str:
    """Return standing halts as a sentence names them: what is halted, by whom, since when, why."""
    return "; ".join(
        f"{scope_text(halt)} is halted by {halt['actor']} since {str(halt['created_at'])[:19].replace('T', ' ')} UTC: "
        f"{halt['reason']} (halt {str(halt['halt_id'])[:8]})"
        for halt in halts
    )


def not_halted(row: Row, ask: Ask) -> None:
    """Raise PreconditionFailed while a halt stands for the session, whoever asks and for whatever reason."""
    if row["halts"]:
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "no halt stands", told(row["halts"]),
            "See `fntx halt ls`; a risk manager lifts it: `fntx halt release`.",
        )  # fmt: skip
