"""The one way to change a template: every change is a version, with who made it and why, and happens once.

What is wanted is worked out and checked outside of a transaction, for a check may ask plug-ins; it is stored only if
the template is still what it was worked out from, and worked out anew otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Engine, text

from fntx_sessions.database.engine import statements, transaction
from fntx_sessions.exceptions import Busy, CommandConflict, InvalidArgument, TemplateConflict
from fntx_sessions.lifecycle import desk_audit
from fntx_sessions.lifecycle.confirming import about
from fntx_sessions.lifecycle.desk_audit import Deed
from fntx_sessions.lifecycle.templates.contents import rules_of
from fntx_sessions.lifecycle.templates.differences import Difference, differences
from fntx_sessions.lifecycle.templates.reading import unknown
from fntx_sessions.schemas import TemplateContents
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import EDIT_RULES, EDIT_TEMPLATE, authorize
from fntx_sessions.settings import get_settings
from fntx_sessions.state.payloads import Payloads

_TRIES = 10
_KEPT = text("""
SELECT t.template_id, t.version, t.body, t.retired_at,
  (SELECT v.actor FROM template_versions v WHERE (v.template_id, v.version) = (t.template_id, t.version)) AS set_by
FROM templates t WHERE t.template_name = :name
""")
_ALIKE = text("""
SELECT template_name FROM templates WHERE lower(template_name) = lower(:name) AND template_name <> :name
""")
# `now()` of retired_at is when it was retired first: it stays while nobody brings it back.
_RENEW = text("""
WITH renewed AS (
  UPDATE templates SET version = version + 1, body = CAST(:body AS jsonb),
    retired_at = CASE WHEN :retired THEN coalesce(retired_at, now()) END
  WHERE template_name = :name AND version = :version
  RETURNING template_id, version, body
)
INSERT INTO template_versions (template_id, version, body, action, actor, reason, command_id, arguments_hash)
SELECT template_id, version, body, :action, :actor, :reason, :command_id, :arguments_hash FROM renewed
RETURNING version
""")
_BEGIN = text("""
WITH begun AS (
  INSERT INTO templates (template_id, template_name, version, body)
  VALUES (:command_id, :name, 1, CAST(:body AS jsonb)) ON CONFLICT DO NOTHING
  RETURNING template_id, version, body
)
INSERT INTO template_versions (template_id, version, body, action, actor, reason, command_id, arguments_hash)
SELECT template_id, version, body, :action, :actor, :reason, :command_id, :arguments_hash FROM begun
RETURNING version
""")
_WRITTEN = text("""
SELECT t.template_id, t.template_name, v.version, v.action, v.actor, v.reason, v.timestamp AS at, v.body AS after,
  coalesce(b.body, '{}') AS before, v.arguments_hash
FROM template_versions v JOIN templates t USING (template_id)
LEFT JOIN template_versions b ON b.template_id = v.template_id AND b.version = v.version - 1
WHERE v.command_id = :command_id
""")


@dataclass(frozen=True, slots=True)
class Edit:
    """Who asks for what of which template, and why. arguments: all that was asked; an id stands for them alone.

    copy_of: the template that a new one begins as, in whatever version that is.
    """

    actor: Actor
    template_name: str
    reason: str
    command_id: UUID
    arguments: dict[str, Any]
    expected_version: int | None = None
    copy_of: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A template as it stands. set_by: who made its newest version."""

    template_id: UUID
    version: int
    body: dict[str, Any]
    retired_at: datetime | None
    set_by: str | None

    @property
    def contents(self) -> TemplateContents:
        """What it says."""
        return TemplateContents.model_validate(self.body)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a template is to be. action: what is kept as what was done: added, edited, imported, retired, ..."""

    action: str
    contents: TemplateContents
    retired: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """A version of a template. before: empty for the first."""

    template_id: UUID
    template_name: str
    version: int
    action: str
    actor: str
    reason: str
    at: datetime
    before: dict[str, Any]
    after: dict[str, Any]

    @property
    def changes(self) -> list[Difference]:
        """What it differs in from the version before."""
        return differences(self.before, self.after)

    def to_dict(self) -> dict[str, Any]:
        """Return it as tasks answer."""
        return {
            "template_id": str(self.template_id),
            "template_name": self.template_name,
            "version": self.version,
            "action": self.action,
            "actor": self.actor,
            "reason": self.reason,
            "at": self.at.isoformat(),
            "changes": self.changes,
        }


def write(engine: Engine, edit: Edit, make: Callable[[Kept | None], Wanted]) -> Written:
    """Make a template what `make` wants of it as it stands (None: there is none of that name), as a new version.

    Asked twice under one id, it happens once and is answered alike. Whoever changes rules edits a template and rules,
    whichever way they came. Raises what `make` raises, Forbidden, NeedsSecond, NotConfirmed, CommandConflict,
    TemplateConflict, InvalidArgument for a name that is almost another's, NotFound, Busy and Unavailable: nothing was
    changed.
    """
    asked = _hash(edit.arguments)
    for _ in range(_TRIES):
        with statements(engine) as connection:
            # In this order: what another delivery of this edit made of it is seen only with the edit itself.
            kept = look(connection, edit.template_name)
            written = _written(connection, edit, asked)
            if written is not None:
                return written
            _check_expected(connection, edit, kept)
            _must_be_as_asked(connection, Payloads(engine), edit)
        wanted = make(kept)
        _authorize(edit.actor, kept, wanted)
        with transaction(engine) as connection:
            if _store(connection, edit, asked, kept, wanted):
                desk_audit.record_in(connection, edit.actor, _deed(edit, asked, kept, wanted))
                return _written(connection, edit, asked)  # type: ignore[return-value]  # just stored
    raise _lost(edit)


def _authorize(actor: Actor, kept: Kept | None, wanted: Wanted) -> None:
    authorize(actor, EDIT_TEMPLATE)
    before = rules_of(kept.contents) if kept else {}
    if any(rules != before.get(key, []) for key, rules in rules_of(wanted.contents).items()):
        authorize(actor, EDIT_RULES)


def _deed(edit: Edit, asked: bytes, kept: Kept | None, wanted: Wanted) -> Deed:
    before = kept.version if kept else None
    action = EDIT_RULES if "rules" in edit.arguments else EDIT_TEMPLATE
    return Deed(
        action, "done", f"template {edit.template_name}: {wanted.action}", edit.reason, edit.command_id, asked,
        before, (before or 0) + 1,
    )  # fmt: skip


def _hash(arguments: dict[str, Any]) -> bytes:
    try:
        return sha256(orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)).digest()
    except TypeError:  # what came as JSON and cannot be written as such is nested hundreds of levels deep
        raise InvalidArgument("arguments", "are nested too deep", "Write them flatter.") from None


def look(connection: Connection, name: str) -> Kept | None:
    """Return a template as it stands; None: there is none."""
    row = connection.execute(_KEPT, {"name": name}).mappings().one_or_none()
    return None if row is None else Kept(**row)


def template_facts(connection: Connection, name: str, copy_of: str | None) -> about.Facts:
    """Return what an edit of a template is about; copy_of: the one that a new one begins as, as it stands."""
    kept, copied = look(connection, name), look(connection, copy_of) if copy_of else None
    facts = about.of_template(name, kept.version if kept else None, kept.contents if kept else None)
    if copied is not None:
        facts["template"]["copy_of"] = f"{copy_of} at version {copied.version}"
    return facts


def _must_be_as_asked(connection: Connection, payloads: Payloads, edit: Edit) -> None:
    if edit.actor.confirmed_by:
        # After `kept` was looked at, on which storing depends: what is edited now is no newer than what is compared.
        now = template_facts(connection, edit.template_name, edit.copy_of)
        about.must_be_as_asked(connection, payloads, edit.actor, edit.command_id, now, about.OF_TEMPLATES)


def _check_expected(connection: Connection, edit: Edit, kept: Kept | None) -> None:
    if edit.expected_version is None:
        return
    if kept is None:
        raise unknown(connection, edit.template_name)
    if kept.version != edit.expected_version:
        raise TemplateConflict(edit.template_name, edit.expected_version, kept.version, kept.set_by or "nobody")


def _store(connection: Connection, edit: Edit, asked: bytes, kept: Kept | None, wanted: Wanted) -> bool:
    body = wanted.contents.body()
    bound = {
        "name": edit.template_name,
        "body": orjson.dumps(body).decode(),
        "action": wanted.action,
        "actor": edit.actor.name,
        "reason": edit.reason,
        "command_id": edit.command_id,
        "arguments_hash": asked,
    }
    if kept is None:
        _check_alike(connection, edit.template_name)
        return connection.execute(_BEGIN, bound).scalar() is not None
    renewed = bound | {"version": kept.version, "retired": wanted.retired}
    return connection.execute(_RENEW, renewed).scalar() is not None


def _check_alike(connection: Connection, name: str) -> None:
    alike = connection.execute(_ALIKE, {"name": name}).scalars().first()
    if alike is not None:
        raise InvalidArgument("template_name", f"there is {alike!r}, spelled almost alike", "Choose another name.")


def _written(connection: Connection, edit: Edit, asked: bytes) -> Written | None:
    row = connection.execute(_WRITTEN, {"command_id": edit.command_id}).mappings().one_or_none()
    if row is None:
        return None
    found = dict(row)
    known = found.pop("arguments_hash")
    if known is not None and bytes(known) != asked:
        raise CommandConflict(str(edit.command_id), f"an edit of the template {found['template_name']!r}")
    return Written(**found)


def _lost(edit: Edit) -> Busy:
    return Busy(f"template {edit.template_name!r}", get_settings().db_lock_timeout_ms)
