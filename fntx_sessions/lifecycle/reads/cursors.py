"""Cursors of lists that go back in time: a moment and an id, as one word that an address can hold."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

from fntx_sessions.exceptions import InvalidArgument

_BETWEEN = "~"
# The newest there can be: everything comes before it.
_LAST = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cursor:
    """What was listed last: what comes next is older."""

    at: datetime
    id: UUID

    def __str__(self) -> str:
        """Return the word that `of` reads."""
        return f"{self.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}{_BETWEEN}{self.id}"

    @classmethod
    def of(cls, field: str, word: str) -> Self:
        """Return the cursor a word stands for, the newest there can be for an empty one; raises InvalidArgument."""
        if not word:
            return cls(_LAST, UUID(int=2**128 - 1))
        moment, _, found = word.partition(_BETWEEN)
        try:
            at, id_ = datetime.fromisoformat(moment), UUID(found)
        except ValueError:
            raise InvalidArgument(field, "is no place in this list", "Go there by the list's own links.") from None
        return cls(at.replace(tzinfo=at.tzinfo or UTC), id_)
