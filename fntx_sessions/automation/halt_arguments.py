"""Halts as they are asked for and told of: scopes, arguments, and what a halt came to."""

from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import Field, field_validator, model_validator

from fntx_sessions.automation.bulk import Item
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import Model, SessionStatus
from fntx_sessions.security.actor import Actor

Kind = Literal["all", "account", "template", "session"]
_FIX = "Give all, account:NAME, template:NAME or session:ID."
_REASON = Field(min_length=1, max_length=2000)


class Scope(Model):
    """What is halted. name None: everything. A session's name is its id, or its first 4 or more characters."""

    kind: Kind
    name: str | None = None

    @staticmethod
    def parse(text: str) -> "Scope":
        """Return the scope that is written as ``all`` or ``KIND:NAME``; raises InvalidArgument."""
        kind, _, name = text.strip().partition(":")
        if kind == "all" and not name:
            return Scope(kind="all")
        if kind not in ("account", "template", "session"):
            raise InvalidArgument("scope", f"{text[:60]!r} is not one", _FIX)
        if not name.strip():
            raise InvalidArgument("scope", f"{kind} of which name?", _FIX)
        return Scope(kind=kind, name=name.strip())

    def among(self, actor: Actor) -> "Scope | None":
        """Return it for somebody whose token has a scope, a session in full; None where it is not known to be theirs.

        Without one the token is good for all, and any scope is as it was given.
        """
        if not actor.scoped or (self.kind == "template" and self.name in actor.templates):
            return self
        asked = (self.name or "").lower().replace("-", "")
        fit = [
            one
            for one in actor.sessions | actor.admitted
            if self.kind == "session" and one.replace("-", "").startswith(asked)
        ]
        return Scope(kind="session", name=fit[0]) if len(fit) == 1 else None

    def __str__(self) -> str:
        """Return it as it is written."""
        return self.kind if self.name is None else f"{self.kind}:{self.name}"


class _Reasoned(Model):
    reason: str = _REASON

    @field_validator("reason")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not any(map(str.isalnum, value)):
            raise InvalidArgument("reason", "says nothing", "Say why: others read it when they are refused.")
        return value.strip()


class HaltArguments(_Reasoned):
    """fntx.halts.place. flatten: close the positions too; what runs is stopped then instead of paused."""

    scope: str = Field(max_length=300)
    flatten: bool = False


class ReleaseArguments(_Reasoned):
    """fntx.halts.release: which halt, by its scope or by its id (its first 4 or more characters)."""

    scope: str | None = Field(default=None, max_length=300)
    halt_id: str | None = Field(default=None, pattern=r"^[0-9a-fA-F-]{4,36}$")

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.scope is None) == (self.halt_id is None):
            raise InvalidArgument("halt", "is named by a scope or by an id", "Give one of the two: `fntx halt ls`.")
        return self


class ListArguments(Model):
    """fntx.halts.list: those that stand; released: the newest `limit` of all."""

    released: bool = False
    limit: int = Field(default=100, ge=1, le=1000)


class Halt(Model):
    """A halt. held: how many sessions do not trade because of it, in a list of halts alone."""

    halt_id: UUID
    scope: Kind
    scope_name: str | None
    reason: str
    flatten: bool
    actor: str
    created_at: datetime
    released_at: datetime | None = None
    released_by: str | None = None
    release_reason: str | None = None
    held: int | None = None

    @property
    def where(self) -> str:
        """Return its scope as it is written."""
        return str(Scope(kind=self.scope, name=self.scope_name))

    @property
    def stands(self) -> bool:
        """Tell whether it holds."""
        return self.released_at is None


class Placed(Model):
    """What a halt has come to.

    standing: it is one that stood before, under an id of its own. left: sessions that still have to be paused or
    stopped; while there are any, ask again. items: what became of each session, by its latest command.
    """

    halt: Halt
    standing: bool
    left: int
    items: list[Item] = Field(default_factory=list)


class HeldSession(Model):
    """A session that a release leaves as it is. halts: what else still halts it. positions: contracts and shares."""

    session_id: UUID
    status: SessionStatus
    holds: list[str]
    positions: int
    halts: list[dict[str, Any]] = Field(default_factory=list)


class Released(Model):
    """A halt that is over, and the sessions that it leaves paused: nothing of them is resumed."""

    halt: Halt
    sessions: list[HeldSession] = Field(default_factory=list)
