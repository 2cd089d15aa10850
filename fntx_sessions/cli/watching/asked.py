"""What the board is asked for: a filter as somebody types it, and an order."""

from dataclasses import dataclass, replace
from typing import Any, get_args

from fntx_sessions.lifecycle.reads.board_sql import Sort

SORTS: tuple[str, ...] = get_args(Sort)
HINT = "words, status:paused, type:, template:, account:, ! for who needs somebody"
_NAMES = {"type": "session_type", "template": "template_name", "account": "account_id"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One way to look at the board. filter: as it was typed."""

    filter: str = ""
    sort: str = SORTS[0]
    reverse: bool = False
    page: int = 1

    def sorted_next(self) -> "Asked":
        """Return it in the next order there is."""
        return replace(self, sort=SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)], page=1)

    def reversed(self) -> "Asked":
        """Return it the other way round."""
        return replace(self, reverse=not self.reverse, page=1)

    def arguments(self) -> dict[str, Any]:
        """Return the question's arguments; a word that names no filter is looked for in names and reasons."""
        words, status, named = [], [], {}
        for word in self.filter.split():
            name, colon, value = word.partition(":")
            if colon and value and name == "status":
                status += value.lower().split(",")
            elif colon and value and name in _NAMES:
                named[_NAMES[name]] = value
            elif word != "!":
                words.append(word)
        given = {"status": status, "text": " ".join(words), "needs_attention": "!" in self.filter.split(), **named}
        return {name: value for name, value in given.items() if value} | self._order()

    def _order(self) -> dict[str, Any]:
        return {"sort": self.sort, "reverse": self.reverse, "page": self.page}

    def __str__(self) -> str:
        """Return it as the line below the board says it."""
        ways = [f"sorted by {self.sort}{', reversed' if self.reverse else ''}"]
        ways += [f"filter: {self.filter}"] if self.filter else []
        return "; ".join(ways)
