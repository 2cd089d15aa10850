"""Tokens given out and taken back, on the desk's chain: what was issued to whom, and what is refused from now on."""

import re
import time
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

from pydantic import Field, model_validator
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle import desk_audit
from fntx_sessions.lifecycle.desk_audit import DESK, Deed
from fntx_sessions.schemas import Model
from fntx_sessions.security import names
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.revocations import revocations_of
from fntx_sessions.security.roles import TOKENS, authorize
from fntx_sessions.security.token_claims import MAX_WORD_CHARACTERS, Verified
from fntx_sessions.settings import Settings

ISSUE, REVOKE = "issue_token", "revoke_token"
_ENDS = re.compile(r"; until (\S+)$")
_EITHER = "Give a token's id, or a name whose tokens all end."

_REVOKE = text("""
INSERT INTO revoked_tokens (revocation_id, token_id, subject, issued_until, forget_at, revoked_by, reason)
VALUES (:revocation_id, :token_id, :name, CASE WHEN CAST(:name AS text) IS NOT NULL THEN clock_timestamp() END,
  clock_timestamp() + make_interval(secs => :keep_s), :by, :reason)
ON CONFLICT (revocation_id) DO NOTHING RETURNING revocation_id
""")
_REVOKED = text("SELECT * FROM revoked_tokens WHERE revocation_id = :revocation_id")
_STANDING = text("SELECT * FROM revoked_tokens WHERE forget_at > now() ORDER BY revoked_at DESC LIMIT :limit")
# Nothing that they refuse is good any more.
_FORGET = text("DELETE FROM revoked_tokens WHERE forget_at < now()")
_ISSUED = text("""
SELECT target AS token_id, reason, actor, timestamp FROM audit
WHERE session_id = :desk AND action = :action AND outcome = 'done'
  AND timestamp > now() - make_interval(secs => :within_s)
ORDER BY seq DESC LIMIT :limit
""")


class RevokeArguments(Model):
    """Which token, by its id, or whose: all that were issued to a name until now."""

    token_id: str | None = Field(default=None, min_length=1, max_length=MAX_WORD_CHARACTERS)
    name: str | None = Field(default=None, min_length=1, max_length=names.NAME_CHARACTERS)
    reason: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.token_id is None) == (self.name is None):
            raise InvalidArgument("token_id", "or name: exactly one of them", _EITHER)
        if self.name == names.SYSTEM_NAME:
            fix = "Change its key: `fntx signing-keys rotate --system`, then retire the old one with --now."
            raise InvalidArgument("name", "the system's tokens end within minutes", fix)
        return self


class TokensQuery(Model):
    """How many at most, newest first."""

    limit: int = Field(default=100, ge=1, le=1000)


class Revocation(Model):
    """What is refused. issued_until: of a name, what was issued until then. forget_at: all of it is over by then."""

    revocation_id: UUID
    token_id: str | None
    name: str | None
    issued_until: datetime | None
    revoked_by: str
    revoked_at: datetime
    reason: str
    forget_at: datetime


class Issued(Model):
    """A token that was given out by `fntx token issue`. told: to whom, with which roles, for what, until when."""

    token_id: str
    told: str
    issued_by: str
    issued_at: datetime
    ends_at: datetime | None
    revoked: bool


class Tokens(Model):
    """What was given out and is not over, and what is refused."""

    issued: list[Issued]
    revoked: list[Revocation]


def note_issued(engine: Engine, actor: Actor, token: Verified) -> None:
    """Write on the desk's chain that a token was issued, never the token itself; raises Busy and Unavailable."""
    desk_audit.record(engine, actor, Deed(ISSUE, "done", token.actor.token_id, told(token)))


def told(token: Verified) -> str:
    """Return what a token is good for, in one line that ends with its end."""
    its = token.actor
    scope = {"sessions": its.sessions, "templates": its.templates, "tags": its.tags}
    parts = [f"{its.name}; roles {its.role_list()}"]
    parts += [f"{kind} {','.join(sorted(held))}" for kind, held in scope.items() if held]
    parts += [f"for one command {token.args[:16]}"] if token.args else []
    # A wide scope may be cut where the audit keeps no more; the end is what tells whether it matters.
    text_ = "; ".join(parts)[:1800]
    return f"{text_}; until {datetime.fromtimestamp(token.ends_at, UTC).isoformat(timespec='seconds')}"


def revoke(engine: Engine, settings: Settings, actor: Actor, asked: RevokeArguments, command_id: UUID) -> Revocation:
    """Refuse a token, or all of a name, from now on: within `token_revocations_refresh_s` everywhere.

    Asked again under its id, it answers the same. Raises Forbidden, Busy and Unavailable.
    """
    authorize(actor, TOKENS)
    bound = asked.model_dump() | {"revocation_id": command_id, "by": actor.name}
    # As long as anything could come of what is refused: of a token, or of what waits for a second person since.
    keep_s = max(settings.token_max_ttl_s, settings.four_eyes_ttl_s) + 2 * settings.token_leeway_s
    with transaction(engine) as connection:
        if connection.execute(_REVOKE, bound | {"keep_s": keep_s}).first() is not None:
            connection.execute(_FORGET)
            deed = Deed(REVOKE, "done", asked.token_id or asked.name, asked.reason, command_id)
            desk_audit.record_in(connection, actor, deed)
        found = rows(connection.execute(_REVOKED, {"revocation_id": command_id}))[0]
    if (known := revocations_of(settings)) is not None:
        known.look()
    return _revocation(found)


def list_tokens(engine: Engine, settings: Settings, actor: Actor, asked: TokensQuery) -> Tokens:
    """Return what was issued and is not over, and what was revoked; raises Forbidden, Busy and Unavailable."""
    authorize(actor, TOKENS)
    bound = {"desk": DESK, "action": ISSUE, "within_s": settings.token_max_ttl_s, "limit": asked.limit}
    with transaction(engine) as connection:
        issued = rows(connection.execute(_ISSUED, bound))
        revoked = [_revocation(row) for row in rows(connection.execute(_STANDING, {"limit": asked.limit}))]
    found = [_issued(row, revoked) for row in issued]
    return Tokens(issued=[one for one in found if not _is_over(one)], revoked=revoked)


def _revocation(row: dict[str, Any]) -> Revocation:
    known = {name: row[name] for name in Revocation.model_fields if name in row}
    return Revocation(**known, name=row["subject"])


def _issued(row: dict[str, Any], revoked: list[Revocation]) -> Issued:
    name = row["reason"].partition(";")[0]
    ends = _ENDS.search(row["reason"])
    return Issued(
        token_id=row["token_id"],
        told=row["reason"],
        issued_by=row["actor"],
        issued_at=row["timestamp"],
        ends_at=datetime.fromisoformat(ends[1]) if ends else None,
        revoked=any(_refuses(one, row["token_id"], name, row["timestamp"]) for one in revoked),
    )


def _refuses(revoked: Revocation, token_id: str, name: str, at: datetime) -> bool:
    named = revoked.issued_until is not None and revoked.name == name and at <= revoked.issued_until
    return named or revoked.token_id == token_id


def _is_over(issued: Issued) -> bool:
    return issued.ends_at is not None and issued.ends_at.timestamp() < time.time()
