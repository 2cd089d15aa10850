"""A desk with sessions of every kind, for tests of the board: rows as hosts and people leave them."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from hosting import Hosting, S, T

from fntx_sessions.lifecycle.reads.board import BoardPage, BoardQuery, BoardRow, read_board

STOP = [
    {"condition": "daily_loss_exceeded", "value": True},
    {"condition": "vix_above", "value": 30},
    {"condition": "minutes_to_close_below", "value": 15},
]
_MEASURES = {
    "daily_pnl": "0", "loss_limit": "1000.00", "latched": False, "peak": "0", "drawdown": "0", "position_count": 0,
    "error_rate": None, "decision_latency_ms": None, "net_pnl": "0", "marks": {}, "memory_mb": 100.0,
}  # fmt: skip
_ROUTES: dict[S, tuple[T, ...]] = {
    S.INITIALIZING: (), S.ACTIVE: (T.START,), S.PAUSED: (T.START, T.PAUSE), S.SUSPENDED: (T.START, T.SUSPEND),
    S.CLOSING: (T.START, T.STOP), S.ERROR: (T.START,),
}  # fmt: skip


class BoardWorld:
    """What the board is asked about."""

    def __init__(self, hosting: Hosting) -> None:
        self.hosting = hosting

    def made(self, status: S = S.ACTIVE, **asked: Any) -> UUID:
        """Create a session and take it to a status."""
        session_id = self.hosting.create(**asked)
        for trigger in _ROUTES[status]:
            self.hosting.do(trigger, session_id, reason=f"on the way to {status}")
        if status is S.ERROR:
            self.hosting.do(T.FAIL, session_id, error="broke", actor=self.admin)
        return session_id

    @property
    def admin(self) -> Any:
        from fntx_sessions.security.actor import Actor  # noqa: PLC0415 -- for one kind alone

        return Actor("root", frozenset({"admin"}))

    def stepped(self, session_id: UUID, pnl: str, *, drawdown: str = "0", held: int = 0, **more: Any) -> None:
        """Leave what a step leaves: measures, and the day of its ledger."""
        now = datetime.now(UTC).isoformat()
        measures = _MEASURES | {"at": now, "stored_at": now, "daily_pnl": pnl, "drawdown": drawdown}
        self.hosting.run(
            "UPDATE session_work SET measures = CAST(:found AS jsonb) WHERE session_id = :id",
            found=orjson.dumps(measures | {"position_count": held} | more).decode(), id=session_id,
        )  # fmt: skip
        self.hosting.run(
            "INSERT INTO session_days (session_id, trade_date, account_id, realized, contracts) "
            "SELECT session_id, coalesce((w.clock_at AT TIME ZONE 'America/New_York')::date, :today), account_id, "
            "CAST(:pnl AS numeric), :held FROM sessions JOIN session_work w USING (session_id) WHERE session_id = :id",
            pnl=pnl, held=held, today=datetime.now(UTC).date(), id=session_id,
        )  # fmt: skip

    def read(self, **asked: Any) -> BoardPage:
        return read_board(self.hosting.desk, BoardQuery(**asked))

    def ids(self, **asked: Any) -> list[UUID]:
        return [row.session_id for row in self.read(**asked).rows]

    def row(self, session_id: UUID) -> BoardRow:
        [found] = self.read(session_ids=[session_id], status=list(S)).rows
        return found
