"""What may be asked of memory: what each task takes."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.memory.slices import AgentName, Importance, MemorySlice, MemoryType, PlainObject, Tag
from fntx_sessions.values import Model, Time

MOST = 200
_ENTRY_ID = r"^\d{1,19}(-\d{1,19})?$"
_Limit = Annotated[int, Field(ge=1, le=MOST)]


class StoreArguments(MemorySlice):
    """store: a slice, and for whom. Its id is the command's."""

    agent: AgentName

    def slice(self) -> MemorySlice:
        """Return the slice alone."""
        return MemorySlice(**{name: getattr(self, name) for name in MemorySlice.model_fields})


class ShareArguments(Model):
    """share: what `sender` tells `recipients`. session_id: which session it is about, where context does not say so."""

    sender: AgentName
    recipients: list[AgentName] = Field(min_length=1, max_length=50)
    context: PlainObject
    session_id: UUID | None = None

    def about_one_session(self) -> "ShareArguments":
        """Return it with the one session it is about in both places; raises InvalidArgument where they differ."""
        said = self.context.get("session_id")
        about = self.session_id if said is None else _session_id(said)
        if self.session_id not in (None, about):
            raise InvalidArgument("context.session_id", f"is not {self.session_id}", "Say one of them.")
        named = {} if about is None else {"session_id": str(about)}
        return self.model_copy(update={"session_id": about, "context": self.context | named})


def _session_id(said: Any) -> UUID:
    try:
        return UUID(said)
    except (ValueError, TypeError, AttributeError):
        fix = "Give its whole id, or leave it out."
        raise InvalidArgument("context.session_id", f"{str(said)[:60]!r} is no session's id", fix) from None


class Filters(Model):
    """Which slices. importance: at least so much; since: made at this moment or later; all that are given must hold."""

    agent: AgentName | None = None
    memory_type: MemoryType | None = None
    session_id: UUID | None = None
    importance: Importance | None = None
    tag: Tag | None = None
    since: Time | None = None
    until: Time | None = None


class SearchArguments(Filters):
    """search: words as in a web search: all of them, "a phrase", either OR other, -not."""

    query: str = Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")
    limit: _Limit = 20


class ListArguments(Filters):
    """list: slices, newest first."""

    limit: _Limit = 100


class ContextArguments(Model):
    """context: what an agent was told after entry `after`, oldest first; without it the newest `limit`."""

    agent: AgentName
    after: str | None = Field(default=None, pattern=_ENTRY_ID)
    session_id: UUID | None = None
    limit: _Limit = 100
