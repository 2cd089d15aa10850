"""The board: every session as a row, those that need somebody first."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.confirming.reading import count_waiting
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.board import OPEN, BoardPage, BoardQuery, BoardRow, Limit, read_board
from fntx_sessions.lifecycle.reads.board_sql import Sort
from fntx_sessions.monitoring.flower.offers import halt_offers, offers
from fntx_sessions.monitoring.flower.page import Asked, Draw, Page
from fntx_sessions.monitoring.flower.views import Part, Parts
from fntx_sessions.monitoring.flower.words import dollars
from fntx_sessions.parsing import parse
from fntx_sessions.schemas import SessionStatus, SessionType

# What the address may ask for -> the field of the question it is.
FIELDS = {
    "status": "status", "type": "session_type", "template": "template_name", "account": "account_id", "text": "text",
    "needs": "needs_attention", "sort": "sort", "reverse": "reverse", "page": "page", "rows": "limit",
    "children": "include_children",
}  # fmt: skip
# The columns, by which each is sorted (empty: it is not), and its words.
COLUMNS = (
    ("since", "Session"), ("status", "Status"), ("pnl", "P&L today"), ("drawdown", "Drawdown"), ("limit", "Limits"),
    ("", "Agents"), ("save", "Saved"), ("", "Next rule"),
)  # fmt: skip
# Each sort in words, also those that no column is of.
_SORTED_BY: dict[Sort, str] = {
    "attention": "who needs somebody", "status": "status", "since": "in its status since", "created": "created",
    "type": "type", "template": "template", "account": "account", "pnl": "P&L today", "drawdown": "drawdown",
    "limit": "limits", "save": "saved",
}  # fmt: skip
_ACTS = frozenset({"start", "resume", "pause", "stop", "recover"})
_DOWN = frozenset({"since", "limit", "created"})


def question(asked: Asked, rows: int) -> BoardQuery:
    """Return what an address asks for; rows: of a page, where it does not say. Raises InvalidArgument."""
    unknown = sorted(set(asked.arguments) - set(FIELDS))
    if unknown:
        raise InvalidArgument(unknown[0][:40], "is nothing the board knows", f"Known: {', '.join(FIELDS)}.")
    given: dict[str, Any] = {FIELDS[name]: value for name, value in asked.arguments.items() if value}
    if "status" in given:
        given["status"] = [one.strip() for one in given["status"].split(",")]
    for name in ("page", "limit"):
        if name in given:
            given[name] = _whole(name, given[name])
    return parse(BoardQuery, {"limit": rows} | given)


def _whole(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise InvalidArgument(name, "is not a whole number", "Give one such as 2.")
    return int(value)


class Links:
    """Addresses of the board that differ from the present one; a change of the filter begins at the first page."""

    def __init__(self, asked: Asked) -> None:
        self._given = {name: value for name, value in asked.arguments.items() if value}

    def __call__(self, **changed: Any) -> str:
        """Return the address with some arguments changed; empty ones are left out."""
        kept = self._given if "page" in changed else {k: v for k, v in self._given.items() if k != "page"}
        return "?" + urlencode(sorted((name, value) for name, value in (kept | changed).items() if value != ""))

    def sorting(self, key: str) -> str:
        """Return the address that sorts by a column, the other way round where it is sorted by it already."""
        turned = self._given.get("sort") == key and not self._given.get("reverse")
        return self(sort=key, reverse="1" if turned else "")


class Board(Page):
    """Sessions as rows."""

    template = "board.html"

    def title(self, asked: Asked) -> str:
        """Return the page's title."""
        _ = asked
        return "Sessions"

    def draw(self, desk: Desk, asked: Asked, draw: Draw) -> Parts:
        """Ask for a page of the board and draw it: halts, counts, filter, rows, and the way to other pages."""
        query = question(asked, desk.settings.pages_rows)
        found, links = read_board(desk, query, asked.viewer.actor), Links(asked)
        asked = replace(asked, viewer=asked.viewer.knowing(row.session_id for row in found.rows))
        whole = not asked.viewer.scoped
        placing = halt_offers(asked.viewer)
        return {
            "board-halts": draw.part(
                "board_halts.html", halts=found.halts if whole else [], placing=placing,
                seconds=count_waiting(desk.engine) if whole else 0,
                releasing={str(one.halt_id): halt_offers(asked.viewer, one.halt_id) for one in found.halts},
            ),
            "board-counts": draw.part("board_counts.html", chips=_chips(found, query), links=links),
            "board-filter": draw.part(
                "board_filter.html", query=query, templates=found.templates, types=list(SessionType), asked=asked,
                sorts=_SORTED_BY,
            ),
            "board-head": draw.part(
                "board_head.html", links=links, columns=[(key, words, order(query, key)) for key, words in COLUMNS]
            ),
            "board-rows": _table(found, query, asked, draw),
            "board-pages": draw.part("board_pages.html", found=found, links=links),
        }  # fmt: skip


def _chips(found: BoardPage, query: BoardQuery) -> list[dict[str, Any]]:
    """Return the links above the rows: what they show, how many, and whether that is shown now."""
    counts = found.counts
    every = [("", "Open", sum(counts[status] for status in OPEN), "")]
    every += [(status, status.capitalize(), counts[status], "") for status in SessionStatus]
    every += [("", "Needs somebody", found.needing, "1")]
    return [
        {
            "status": name,
            "words": words,
            "count": f"{count:,}+" if name == SessionStatus.CLOSED and found.more_closed else f"{count:,}",
            "needs": needs,
            "here": query.needs_attention if needs else name in (query.status or ("",) * (not query.needs_attention)),
        }
        for name, words, count, needs in every
    ]


def _table(found: BoardPage, query: BoardQuery, asked: Asked, draw: Draw) -> Part:
    """Return the body of the table, a child each row; one row that says so where there is none."""
    rows = {f"row-{row.session_id}": draw("board_row.html", **_facts(row, asked)) for row in found.rows}
    if not rows:
        filtered = bool(set(asked.arguments) - {"sort", "reverse", "rows"})
        rows = {"row-none": draw("board_none.html", filtered=filtered, page=query.page)}
    return Part('<tbody id="board-rows">', rows, "</tbody>")


def _facts(row: BoardRow, asked: Asked) -> dict[str, Any]:
    acts = offers(asked.viewer, {"session_id": row.session_id, "status": row.status, "started_at": row.started_at})
    return {
        "row": row,
        "limit_words": limit_words,
        "offers": [one for one in acts if one.path[-1] in _ACTS],
        "alarms": _alarms(row),
    }


def limit_words(limit: Limit) -> str:
    """Return how much of a limit is used: `loss $120.00 of $1,000.00`."""
    if limit.name == "loss":
        fired = " (fired)" if limit.fired else ""
        return f"loss {dollars(limit.used)} of {dollars(limit.limit)}{fired}"
    return f"{limit.used:.0f} of {limit.limit:.0f} contracts"


def _alarms(row: BoardRow) -> list[str]:
    """Return in words why a row needs somebody, or what is not as it should be."""
    found = [row.requires_action] if row.requires_action else []
    found += [f"health {row.health}"] if row.health in ("degraded", "failed") else []
    found += [f"{row.approvals} approval{'s' if row.approvals > 1 else ''} waiting"] if row.approvals else []
    found += ["halted"] if row.halted else []
    found += ["nobody steps it"] if row.unattended else []
    found += [f"waits for its {row.pending.removesuffix('_session')}"] if row.pending else []
    return found


def order(query: BoardQuery, key: str) -> str:
    """Return how a column is sorted, as `aria-sort` has it; empty: it is not."""
    if not key or query.sort != key:
        return ""
    return "descending" if (key in _DOWN) is not query.reverse else "ascending"
