"""One ordered timeline of a session: transitions, events, trades, checkpoints, samples, and what its agents told."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Engine

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.reads.asked import HistoryQuery, span_of
from fntx_sessions.lifecycle.reads.history import opened
from fntx_sessions.lifecycle.reads.records import HistoryEntry, SessionHistory
from fntx_sessions.lifecycle.reads.rows import Row, of_session
from fntx_sessions.lifecycle.reads.timeline_sql import EVERYTHING, HISTORY, NEWEST
from fntx_sessions.lifecycle.reads.told import told_data
from fntx_sessions.schemas import Severity
from fntx_sessions.state.payloads import Payloads

Data = dict[str, Any]
_SAMPLE = "sample"


def get_history(engine: Engine, asked: HistoryQuery) -> SessionHistory:
    """Return the first `limit` things that happened on the days asked for, after the cursor, oldest first.

    newest: newest first, the cursor leading back. Things of one moment are ordered by kind and id. What comes in late
    under an earlier time than a cursor's is not behind that cursor. Raises NotFound, and InvalidArgument for a cursor
    that is none.
    """
    found = history_rows(engine, asked, asked.limit + 1)
    payloads = Payloads(engine)
    listed = [_entry(payloads, asked.session_id, row) for row in found[: asked.limit]]
    more = len(found) > asked.limit
    return SessionHistory(
        session_id=asked.session_id, entries=listed, after=_after(found[asked.limit - 1]) if more else None
    )


def history_rows(engine: Engine, asked: HistoryQuery, limit: int) -> list[Row]:
    """Return what `get_history` shows as it is kept: at, kind, id, shown, and what is sealed. Raises so too."""
    span, after = span_of(engine, asked.session_id, asked), _cursor(asked.after)
    kinds: Sequence[str] = asked.kinds or [kind for kind in EVERYTHING if kind != _SAMPLE]
    return of_session(
        engine, NEWEST if asked.newest else HISTORY, asked.session_id, kinds=list(kinds), limit=limit,
        since=span.since, until=span.until, after_at=after[0], after_kind=after[1], after_id=after[2],
        severities=_at_least(asked.severity), words=asked.words,
    )  # fmt: skip


def _at_least(severity: Severity | None) -> list[str] | None:
    return None if severity is None else [one.value for one in list(Severity)[list(Severity).index(severity) :]]


def in_words(row: Row, data: Data | None = None) -> str:
    """Return a row of `history_rows` in a few words; data: what it shows with what was sealed, where that is known."""
    return _WORDS[row["kind"]](row["shown"] if data is None else data)


def _entry(payloads: Payloads, session_id: UUID, row: Row) -> HistoryEntry:
    data = row["shown"] | _unsealed(payloads, session_id, row)
    return HistoryEntry(at=row["at"], kind=row["kind"], id=row["id"], what=in_words(row, data), data=data)


def _unsealed(payloads: Payloads, session_id: UUID, row: Row) -> Data:
    if row["named"] is not None:
        agent, kind, report_id = row["named"]
        named = {"session_id": session_id, "agent": agent, "kind": kind, "report_id": report_id, "data": row["sealed"]}
        return {"agent": agent, "report_id": report_id, "data": told_data(payloads, named)}
    if row["sealed"] is not None:
        event = {"session_id": session_id, "event_id": UUID(row["id"]), "data": row["sealed"]}
        return {"data": opened(payloads, event)["data"]}
    return {}


def _transition(data: Data) -> str:
    why = f": {data['reason']}" if data["reason"] else ""
    return f"{data['from'] or 'new'} -> {data['to']} by {data['actor']}{why}"


def _trade(data: Data) -> str:
    told = f", told by {data['agent']}" if data["agent"] else ""
    net = data.get("net_pnl")
    result = "" if net is None else f", net {_dollars(net)}"
    return f"{data['trade_id']} {data['happened']}{result}{told}"


def _dollars(amount: float) -> str:
    return f"{'-' if amount < 0 else ''}${abs(amount):,.2f}"


def _checkpoint(data: Data) -> str:
    told = f"{data['checkpoint_type']}, epoch {data['epoch']} revision {data['revision']}, {data['size_bytes']:,} bytes"
    return told + (f": {data['note']}" if data["note"] else "")


def _decision(data: Data) -> str:
    latency = data["latency_ms"]
    return f"{data['agent']}: {data['data'].get('what', data['report_id'])}" + (
        "" if latency is None else f" ({latency:g} ms)"
    )


def _error(data: Data) -> str:
    told = data["data"]
    return f"{data['agent']}: {told.get('error', data['report_id'])} {told.get('message', '')}".rstrip()


_WORDS: dict[str, Callable[[Data], str]] = {
    "transition": _transition,
    "event": lambda data: f"{data['event_type']}: {data['description']}",
    "trade": _trade,
    "checkpoint": _checkpoint,
    "sample": lambda data: f"net {_dollars(data['net_pnl'])}",
    "decision": _decision,
    "error": _error,
}


def _after(row: Row) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([row["at"].isoformat(), row["kind"], row["id"]])).decode()


def _cursor(given: str | None) -> tuple[datetime | None, str, str]:
    if given is None:
        return None, "", ""
    try:
        at, kind, key = orjson.loads(base64.b64decode(given, altchars=b"-_", validate=True))
        moment = datetime.fromisoformat(at)
    except (ValueError, TypeError, binascii.Error):
        moment, kind, key = None, None, None
    if moment is None or moment.tzinfo is None or kind not in EVERYTHING or not isinstance(key, str):
        raise InvalidArgument("after", "is no cursor", "Give what the answer before ended with, unchanged.")
    return moment, kind, key
