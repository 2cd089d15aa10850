"""Setting, rotating, removing and listing credentials: done and written into the desk's audit chain together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from psycopg2 import Binary
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import Forbidden, InvalidArgument, NotFound, Rejected
from fntx_sessions.lifecycle import desk_audit
from fntx_sessions.lifecycle.credentials.holders import Holder, check_open
from fntx_sessions.lifecycle.credentials.values import checked_name, checked_value
from fntx_sessions.lifecycle.desk_audit import Deed, asked_hash
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import CREDENTIALS, VIEW, authorize, authorize_template
from fntx_sessions.security.scope import IN_SCOPE, admitted, bound
from fntx_sessions.settings import Settings
from fntx_sessions.state.codec import Codec
from fntx_sessions.state.data_keys import DataKeys

SET, ROTATE, REMOVE, LIST = "set_credential", "rotate_credential", "remove_credential", "list_credentials"

_SEEN = text("""
SELECT version, sealed IS NOT NULL AS kept FROM credentials
WHERE name = :name AND (session_id = :session_id OR template_name = :template_name)
""")
_NEW = text("""
INSERT INTO credentials (credential_id, session_id, template_name, name, sealed, version, set_by)
VALUES (:credential_id, :session_id, :template_name, :name, :sealed, :version, :actor)
ON CONFLICT DO NOTHING
""")
# Only over the version that was seen: of two who change it at once, the second is told.
_NEXT = text("""
UPDATE credentials SET sealed = :sealed, version = :version, set_by = :actor, set_at = now()
WHERE name = :name AND (session_id = :session_id OR template_name = :template_name) AND version = :seen
  AND (sealed IS NOT NULL) = :kept
""")
_LIST = text(f"""
SELECT session_id, template_name, name, version, set_by, set_at, created_at FROM credentials
WHERE sealed IS NOT NULL AND (session_id = :session_id OR template_name = :template_name OR :everything)
  AND (session_id IS NULL OR session_id IN (SELECT s.session_id FROM sessions s WHERE {IN_SCOPE}))
  AND (template_name IS NULL OR CAST(:scope_sessions AS uuid[]) IS NULL
    OR template_name = ANY(CAST(:scope_templates AS text[])))
ORDER BY session_id NULLS FIRST, template_name, name
""")
_TEMPLATE_S = text("""
SELECT c.template_name FROM sessions s JOIN credentials c ON c.template_name = s.template_name
WHERE s.session_id = :session_id AND c.name = :name AND c.sealed IS NOT NULL
""")


@dataclass(frozen=True, slots=True)
class _Change:
    """What somebody asks for."""

    action: str
    actor: Actor
    holder: Holder
    name: str

    @property
    def target(self) -> str:
        """How the audit names what it is about."""
        return f"credential {self.name} of {self.holder}"

    def deed(self, outcome: str, reason: str = "", version: int | None = None, before: int | None = None) -> Deed:
        """Return the row of it. Its hash is of all that was asked but the value, which a hash could be tried against.

        before, version: those of the credential.
        """
        asked = {"action": self.action, "name": self.name, "holder": str(self.holder)}
        hashed = asked_hash(asked)
        return Deed(
            self.action, outcome, self.target, reason, args_hash=hashed, version_before=before, version_after=version
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    """How a credential stood when it was looked at; version 0: there never was one of that name."""

    version: int
    kept: bool


def set_credential(
    engine: Engine, settings: Settings, actor: Actor, holder: Holder, name: str, value: str
) -> dict[str, Any]:
    """Keep a new credential and return what may be told of it.

    Raises InvalidArgument for a bad name; and, with a row in the audit, Forbidden, InvalidArgument (a bad value, or one
    of that name is there already), NotFound, SessionClosed and Shredded. Raises Unavailable.
    """
    change = _Change(SET, actor, holder, checked_name(name))
    with _written_down(engine, change):
        _authorize(engine, change)
        seen = _seen(engine, change)
        if seen.kept:
            raise InvalidArgument("name", f"{name} of {holder} is set already", "Use `fntx credentials rotate`.")
        return _keep(engine, settings, change, value, seen)


def rotate_credential(
    engine: Engine, settings: Settings, actor: Actor, holder: Holder, name: str, value: str
) -> dict[str, Any]:
    """Put a new value in a credential's place, one version on; raises as `set_credential`, NotFound: it is not set."""
    change = _Change(ROTATE, actor, holder, checked_name(name))
    with _written_down(engine, change):
        _authorize(engine, change)
        return _keep(engine, settings, change, value, _there(engine, change))


def remove_credential(engine: Engine, actor: Actor, holder: Holder, name: str) -> dict[str, Any]:
    """Take a credential away, its sealed value with it; raises as `rotate_credential`.

    instead_of_it: the template whose credential of that name a session's agents get from now on, None for none.
    """
    change = _Change(REMOVE, actor, holder, checked_name(name))
    with _written_down(engine, change):
        _authorize(engine, change)
        seen = _there(engine, change)
        # Looked up before: what fails once it is removed would say that nothing was changed.
        with transaction(engine) as connection:
            named = {"session_id": holder.session_id, "name": name}
            instead = connection.execute(_TEMPLATE_S, named).scalar_one_or_none()
        return _write(engine, change, None, seen.version, seen) | {"instead_of_it": instead}


def list_credentials(engine: Engine, actor: Actor, holder: Holder | None = None) -> list[dict[str, Any]]:
    """Return what may be told of credentials, of all holders in the caller's scope for None.

    That is holder, name, version, by whom and when. Raises Forbidden, which is audited, and Unavailable.
    """
    try:
        if holder is None:
            authorize(actor.everywhere(), VIEW)
        else:
            _may(engine, actor, VIEW, holder)
    except Forbidden as error:
        desk_audit.record(engine, actor, Deed(LIST, "denied", f"credentials of {holder or 'all'}", str(error)))
        raise
    of = holder.bound() if holder else {"session_id": None, "template_name": None}
    with transaction(engine) as connection:
        return rows(connection.execute(_LIST, of | bound(actor) | {"everything": holder is None}))


@contextmanager
def _written_down(engine: Engine, change: _Change) -> Iterator[None]:
    """Let a change that is denied or refused have its row, which holds nothing of the value."""
    try:
        yield
    except Rejected as error:
        outcome = "denied" if isinstance(error, Forbidden) else "refused"
        desk_audit.record(engine, change.actor, change.deed(outcome, str(error)))
        raise


def _authorize(engine: Engine, change: _Change) -> None:
    _may(engine, change.actor, CREDENTIALS, change.holder)


def _may(engine: Engine, actor: Actor, action: str, holder: Holder) -> None:
    if holder.template_name is not None:
        authorize_template(actor, action, holder.template_name)
    else:
        authorize(admitted(engine, actor, holder.session_id), action, holder.session_id)


def _seen(engine: Engine, change: _Change) -> _Seen:
    with transaction(engine) as connection:
        found = connection.execute(_SEEN, change.holder.bound() | {"name": change.name}).one_or_none()
    return _Seen(0, kept=False) if found is None else _Seen(found.version, found.kept)


def _there(engine: Engine, change: _Change) -> _Seen:
    seen = _seen(engine, change)
    if not seen.kept:
        raise NotFound("credential", f"{change.name} of {change.holder}", "See `fntx credentials ls`.")
    return seen


def _keep(engine: Engine, settings: Settings, change: _Change, value: str, seen: _Seen) -> dict[str, Any]:
    checked = checked_value(value, settings.credential_max_bytes)
    check_open(engine, change.holder)
    version = seen.version + 1
    codec = Codec(DataKeys(engine, settings))
    return _write(
        engine, change, codec.encode(checked.encode(), change.holder.label(change.name, version)), version, seen
    )


def _write(engine: Engine, change: _Change, sealed: bytes | None, version: int, seen: _Seen) -> dict[str, Any]:
    values = change.holder.bound() | {
        "credential_id": uuid4(),
        "name": change.name,
        "sealed": None if sealed is None else Binary(sealed),
        "version": version,
        "actor": change.actor.name,
        "seen": seen.version,
        "kept": seen.kept,
    }
    deed = change.deed("done", version=version, before=seen.version or None)
    with transaction(engine) as connection:
        if connection.execute(_NEXT if seen.version else _NEW, values).rowcount != 1:
            raise Rejected(f"{change.target} was changed by somebody else just now. Look again, then decide.")
        desk_audit.record_in(connection, change.actor, deed)
    return change.holder.bound() | {"name": change.name, "version": version, "removed": sealed is None}
