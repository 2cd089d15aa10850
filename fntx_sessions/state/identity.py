"""What a snapshot was made under: one hash of template, config, roster and code version."""

from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version
from uuid import UUID

import orjson
from sqlalchemy import Engine, bindparam, select

from fntx_sessions.database.engine import transaction
from fntx_sessions.database.models import sessions
from fntx_sessions.exceptions import NotFound

_READ = select(sessions.c.template_name, sessions.c.template_version, sessions.c.config, sessions.c.roster).where(
    sessions.c.session_id == bindparam("session_id")
)


def identity_of(engine: Engine, session_id: UUID) -> str:
    """Return the session's identity, 64 hex digits; the row is read without a lock. Raises NotFound."""
    with transaction(engine) as connection:
        row = connection.execute(_READ, {"session_id": session_id}).one_or_none()
    if row is None:
        raise NotFound("session", str(session_id), "List sessions with `fntx ls`.")
    facts = {"template": [row.template_name, row.template_version], "config": row.config, "roster": row.roster}
    return sha256(orjson.dumps({**facts, "code": _code()}, option=orjson.OPT_SORT_KEYS)).hexdigest()


@lru_cache(maxsize=1)
def _code() -> str:
    return version("fntx-sessions")
