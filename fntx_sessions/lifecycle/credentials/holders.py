"""Whose agents may have a credential: a session's, or those of all sessions of a template."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import InvalidArgument, NotFound, SessionClosed, Shredded
from fntx_sessions.schemas import SessionStatus
from fntx_sessions.state.codec import Label
from fntx_sessions.state.payloads import DESK

_KIND = "credential"
_SESSION = text("""
SELECT s.status, k.shredded_at FROM sessions s LEFT JOIN session_keys k USING (session_id)
WHERE s.session_id = :session_id
""")
_TEMPLATE = text("SELECT 1 FROM templates WHERE template_name = :template_name")


@dataclass(frozen=True, slots=True)
class Holder:
    """Exactly one of the two."""

    session_id: UUID | None = None
    template_name: str | None = None

    def __post_init__(self) -> None:
        """Raise InvalidArgument for both, and for neither."""
        if (self.session_id is None) == (self.template_name is None):
            raise InvalidArgument("scope", "is not one session or one template", "Give either of the two.")

    def __str__(self) -> str:
        return f"session {self.session_id}" if self.session_id else f"template {self.template_name}"

    def bound(self) -> dict[str, UUID | str | None]:
        """Return the two columns by name."""
        return {"session_id": self.session_id, "template_name": self.template_name}

    def label(self, name: str, version: int) -> Label:
        """Return what a value is sealed as: it opens for no other holder, under no other name, as no other version."""
        of = "" if self.template_name is None else self.template_name
        return Label(self.session_id or DESK, _KIND, f"{version}/{name}/{of}")


def check_open(engine: Engine, holder: Holder) -> None:
    """Return where new values make sense; raises NotFound, SessionClosed, Shredded and Unavailable."""
    with transaction(engine) as connection:
        found = rows(connection.execute(_SESSION if holder.session_id else _TEMPLATE, holder.bound()))
    if not found:
        kind, name = str(holder).split(" ", 1)
        raise NotFound(kind, name, "See `fntx ls`." if holder.session_id else "See `fntx templates ls`.")
    if holder.session_id is None:
        return
    if found[0]["shredded_at"] is not None:
        raise Shredded(str(holder.session_id), str(found[0]["shredded_at"]))
    if found[0]["status"] == SessionStatus.CLOSED:
        raise SessionClosed(holder.session_id)
