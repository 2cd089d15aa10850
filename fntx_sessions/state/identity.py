"""What a snapshot was made under: template, config, roster and code version, their hash, and how two of them differ.

A checkpoint keeps the hash in its sealed manifest and, in its row, the facts the hash was taken of. Saves carry none: a
save is the running session itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version as installed
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Engine, bindparam, select, text

from fntx_sessions.database.engine import statements, transaction
from fntx_sessions.database.models import sessions
from fntx_sessions.exceptions import NotFound, PreconditionFailed
from fntx_sessions.schemas import SessionCheckpoint, Trigger

LEAST_NAMED = 8
_SHOWN = 12
# A value longer than this, as JSON, is kept as its hash: what changed can be named then, not what it was.
_LONGEST_VALUE = 80
_NONE = "not set"

_READ = select(sessions.c.template_name, sessions.c.template_version, sessions.c.config, sessions.c.roster).where(
    sessions.c.session_id == bindparam("session_id")
)
_KEPT = text("""
SELECT made_under FROM checkpoints
WHERE session_id = :session_id AND identity = :identity AND made_under <> '{}' LIMIT 1
""")

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Identity:
    """The facts a session's state is made under. facts: plain JSON, long values as hashes."""

    facts: Facts

    @property
    def hash(self) -> str:
        """Return the identity, 64 hex digits."""
        return sha256(orjson.dumps(self.facts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def identity(engine: Engine, session_id: UUID) -> Identity:
    """Return what the session's state is made under now; the row is read without a lock. Raises NotFound."""
    with statements(engine) as connection:
        row = connection.execute(_READ, {"session_id": session_id}).one_or_none()
    if row is None:
        raise NotFound("session", str(session_id), "List sessions with `fntx ls`.")
    return identity_under(row.template_name, row.template_version, row.config, row.roster)


def identity_under(template: str | None, version: int | None, config: Facts, roster: Sequence[str]) -> Identity:
    """Return the identity that these settings and this code are."""
    named = f"{template} v{version}" if template else None
    short = {name: _short(value) for name, value in config.items()}
    return Identity({"template": named, "config": short, "roster": sorted(roster), "code": _code()})


def differences(engine: Engine, checkpoint: SessionCheckpoint) -> list[str]:
    """Return in words what changed since a checkpoint was made; empty: nothing did. Raises NotFound."""
    return _differences(engine, checkpoint.session_id, checkpoint.identity)


def check_identity(engine: Engine, session_id: UUID, identity: str, accept: str | None) -> None:
    """Return when a checkpoint made under `identity` may be restored.

    It may when the session's identity is the same, or when `accept` names it: the whole of it or its first
    `LEAST_NAMED` or more digits. Raises PreconditionFailed naming what differs and the flag to give, and NotFound.
    """
    if not identity or is_named(identity, accept):
        return
    found = _differences(engine, session_id, identity)
    if not found:
        return
    wrong = f" (not {accept})" if accept else ""
    raise PreconditionFailed(
        str(session_id),
        Trigger.RECOVER.value,
        "the session is what it was when the checkpoint was made",
        f"the checkpoint was made under another identity: {'; '.join(found)}",
        f"To restore it all the same, name what you accept{wrong}: --accept-identity {identity[:_SHOWN]}.",
    )


def is_named(identity: str, accept: str | None) -> bool:
    """Tell whether `accept` names an identity: all of it, or enough of its beginning."""
    return accept is not None and len(accept) >= LEAST_NAMED and identity.startswith(accept.lower())


def _differences(engine: Engine, session_id: UUID, then: str) -> list[str]:
    now = identity(engine, session_id)
    if now.hash == then:
        return []
    with transaction(engine) as connection:
        kept = connection.execute(_KEPT, {"session_id": session_id, "identity": then}).scalar_one_or_none()
    # The row is plain; facts that are not those the identity was taken of would only mislead.
    if kept is None or Identity(kept).hash != then:
        return [f"it was made under identity {then[:_SHOWN]}, the session is {now.hash[:_SHOWN]} now"]
    return list(_told(kept, now.facts))


def _told(then: Facts, now: Facts) -> Iterator[str]:
    for name in ("template", "code"):
        if then[name] != now[name]:
            yield f"{name} {then[name] or _NONE} -> {now[name] or _NONE}"
    gone, new = (sorted(set(a["roster"]) - set(b["roster"])) for a, b in ((then, now), (now, then)))
    if gone:
        yield f"roster: no longer {', '.join(gone)}"
    if new:
        yield f"roster: new {', '.join(new)}"
    for name in sorted(then["config"].keys() | now["config"].keys()):
        before, after = then["config"].get(name, _NONE), now["config"].get(name, _NONE)
        if before != after:
            yield f"config.{name} {_word(before)} -> {_word(after)}"


def _short(value: Any) -> Any:
    plain = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return value if len(plain) <= _LONGEST_VALUE else f"sha256:{sha256(plain).hexdigest()[:16]}"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


@lru_cache(maxsize=1)
def _code() -> str:
    return installed("fntx-sessions")
