"""Tokens given out and taken back, on the desk's chain: what was issued to whom, and what is refused from now on."""

import re
import time
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

from pydantic import Field, model_validator
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import InvalidArgument, Unauthenticated
from fntx_sessions.lifecycle import desk_audit
from fntx_sessions.lifecycle.desk_audit import DESK, Deed
from fntx_sessions.schemas import Model
from fntx_sessions.security import names
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.audit import args_hash
from fntx_sessions.security.local import admin_token
from fntx_sessions.security.machine_user import machine_user
from fntx_sessions.security.revocations import revocations_of
from fntx_sessions.security.roles import TOKENS, authorize
from fntx_sessions.security.token_claims import MAX_WORD_CHARACTERS, Verified
from fntx_sessions.security.tokens import read
from fntx_sessions.settings import Settings
from fntx_sessions.state.chain_key import chain_key

ISSUE, REVOKE = "issue_token", "revoke_token"
_ENDS = re.compile(r"; until (\S+)$")
_EITHER = "Give a token's id, or a name whose tokens all end."

_REVOKE = text("""
INSERT INTO revoked_tokens (revocation_id, token_id, subject, issued_until, forget_at, revoked_by, reason)
VALUES (:revocation_id, :token_id, :name,
  CASE WHEN CAST(:name AS text) IS NOT NULL THEN clock_timestamp() + make_interval(secs => :leeway_s) END,
  clock_timestamp() + make_interval(secs => :keep_s), :by, :reason)
ON CONFLICT (revocation_id) DO NOTHING RETURNING revocation_id
""")
_REVOKED = text("SELECT * FROM revoked_tokens WHERE revocation_id = :revocation_id")
_STANDING = text("SELECT * FROM revoked_tokens WHERE forget_at > now() ORDER BY revoked_at DESC LIMIT :limit")
_UNTIL = text("SELECT max(issued_until) FROM revoked_tokens WHERE subject = :name AND issued_until > clock_timestamp()")
# Nothing that they refuse is good any more.
_FORGET = text("DELETE FROM revoked_tokens WHERE forget_at < now()")
_ISSUED = text("""
SELECT target AS token_id, reason, actor, timestamp FROM audit
WHERE session_id = :desk AND action = :action AND outcome = 'done'
  AND timestamp > now() - make_interval(secs => :within_s)
ORDER BY seq DESC LIMIT :limit
""")
# What was issued before a moment and was not over then, by the name it was issued to.
_GOOD = text("""
SELECT split_part(reason, ';', 1) AS name, count(*) AS number, count(*) FILTER (WHERE target = :token_id) AS by_id
FROM audit
WHERE session_id = :desk AND action = :action AND outcome = 'done'
  AND timestamp > CAST(:at AS timestamptz) - make_interval(secs => :within_s) AND timestamp <= :at
  AND CAST(substring(reason FROM '; until (\\S+)$') AS timestamptz) > :at
GROUP BY 1
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
    """What is refused. issued_until: of a name, what says that it was issued until then; forget_at: it is over by then.

    issued_until is ahead by as much as the clock of whoever issues may be.
    """

    revocation_id: UUID
    token_id: str | None
    name: str | None
    issued_until: datetime | None
    revoked_by: str
    revoked_at: datetime
    reason: str
    forget_at: datetime


class Ended(Revocation):
    """What was refused just now.

    ends: how many tokens that were good are on the desk's chain, which knows those of `fntx token issue`. alike: other
    names there that read like it, whose tokens stay good.
    """

    ends: int
    alike: list[str]


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


def note_local(engine: Engine, settings: Settings) -> None:
    """Write on the desk's chain that the administrator's token of this home was issued, where that is not there yet.

    Its file is written before Postgres need answer. Raises Busy and Unavailable.
    """
    held = admin_token(settings)
    try:
        token = None if held is None else read(held, settings)
    except Unauthenticated:  # good for nothing here
        token = None
    if token is not None:
        chain_key(engine, settings)
        desk_audit.record_first(engine, machine_user(), Deed(ISSUE, "done", token.actor.token_id, told(token)))


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


def revoke(engine: Engine, settings: Settings, actor: Actor, asked: RevokeArguments, command_id: UUID) -> Ended:
    """Refuse a token, or all of a name, from now on: within `token_revocations_refresh_s` everywhere.

    Asked again under its id, it answers the same. Raises Forbidden, Busy and Unavailable.
    """
    authorize(actor, TOKENS)
    bound = asked.model_dump() | {"revocation_id": command_id, "by": actor.name}
    # As long as anything could come of what is refused: of a token, or of what waits for a second person since.
    keep_s = max(settings.token_max_ttl_s, settings.four_eyes_ttl_s) + 2 * settings.token_leeway_s
    clocks = {"keep_s": keep_s, "leeway_s": settings.token_leeway_s}
    with transaction(engine) as connection:
        if connection.execute(_REVOKE, bound | clocks).first() is not None:
            connection.execute(_FORGET)
            hashed = args_hash(asked.model_dump_json())
            deed = Deed(REVOKE, "done", asked.token_id or asked.name, asked.reason, command_id, hashed)
            desk_audit.record_in(connection, actor, deed)
        found = rows(connection.execute(_REVOKED, {"revocation_id": command_id}))[0]
    if (known := revocations_of(settings)) is not None:
        known.look()
    return _ended(engine, settings, _revocation(found))


def _ended(engine: Engine, settings: Settings, found: Revocation) -> Ended:
    bound = {"desk": DESK, "action": ISSUE, "within_s": settings.token_max_ttl_s, "at": found.revoked_at}
    with transaction(engine) as connection:
        good = rows(connection.execute(_GOOD, bound | {"token_id": found.token_id}))
    if found.name is None:
        return Ended(**found.model_dump(), ends=sum(row["by_id"] for row in good), alike=[])
    ends = {row["name"]: row["number"] for row in good}
    like = {name for name in ends if name != found.name and names.alike(name) == names.alike(found.name)}
    return Ended(**found.model_dump(), ends=ends.get(found.name, 0), alike=sorted(like))


def refused_until(engine: Engine, name: str) -> float | None:
    """Return the moment, ahead of now, until which what is issued to a name is refused; None: there is none.

    In seconds since 1970, for `tokens.issue`. Raises Busy and Unavailable.
    """
    with transaction(engine) as connection:
        until = connection.execute(_UNTIL, {"name": name}).scalar_one()
    return until.timestamp() if until else None


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
    # Both by Postgres's clock: what was issued since says another moment, see `tokens.issue`.
    named = revoked.name == name and at <= revoked.revoked_at
    return named or revoked.token_id == token_id


def _is_over(issued: Issued) -> bool:
    return issued.ends_at is not None and issued.ends_at.timestamp() < time.time()
