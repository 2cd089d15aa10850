"""A desk that answers the live screens of `fntx watch` from a script, and those screens to type at."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from textual.events import Key
from textual.keys import _character_to_key
from textual.pilot import Pilot

from fntx_sessions.cli.watching.app import Watch
from fntx_sessions.cli.watching.names import Names

NOW = datetime.now(UTC)
ONE, TWO = UUID(int=0x3F2A9C1D << 96), UUID(int=0x4F2A9C1E << 96)


def row(session_id: UUID = ONE, **changed: Any) -> dict[str, Any]:
    """Return a row of the board."""
    usual = {
        "session_id": str(session_id), "session_type": "paper_trading", "status": "active", "version": 3, "epoch": 1,
        "template_name": "Paper Trading", "account_id": "paper:one", "broker": "paper", "status_actor": "ann",
        "status_since": (NOW - timedelta(minutes=5)).isoformat(), "status_reason": "go", "requires_action": None,
        "holds": [], "halted": False, "pending": None, "health": "well", "approvals": 0, "unattended": False,
        "pnl_today": "-120.50", "drawdown": "-180.25", "positions": 2, "figures_old": False, "agents": 5,
        "limits": [{"name": "loss", "used": "120.5", "limit": "300", "share": 0.4, "fired": False}],
        "agents_ready": 5, "agents_not_ready": [], "last_saved_at": NOW.isoformat(), "save_overdue": False,
        "checkpoint": None, "next_rule": {"action": None, "what": "nothing would"},
    }  # fmt: skip
    return usual | changed


class Scripted:
    """A desk that answers from a script and notes what was asked."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = list(rows)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.commands: list[tuple[str, dict[str, Any], UUID]] = []
        self.answers: dict[str, Any] = {
            "sessions.foresee": {"happens": ["It becomes paused."], "refused": None, "expected_version": None},
        }
        self.outcomes: list[Any] = []
        self.down: Exception | None = None
        self.held: dict[str, asyncio.Event] = {}

    async def query(self, task: str, arguments: dict[str, Any], _deadline_s: float = 3.0) -> Any:
        self.asked.append((task, arguments))
        if self.down is not None:
            raise self.down
        if task in self.held:
            await self.held[task].wait()
        found = self._board() if task == "sessions.board" else self.answers[task]
        if isinstance(found, Exception):
            raise found
        return found

    async def command(self, task: str, arguments: dict[str, Any], command_id: UUID) -> dict[str, Any]:
        self.commands.append((task, arguments, command_id))
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return {"status": "paused", "version": 4, "state": "done", "extra": {"in_flight": ["o1"]}, "warnings": []}

    async def close(self) -> None:
        pass

    def _board(self) -> dict[str, Any]:
        return {
            "rows": self.rows, "total": len(self.rows), "page": 1, "pages": 1, "counts": {"active": len(self.rows)},
            "halts": [], "now": NOW.isoformat(),
        }  # fmt: skip


def watched(scripted: Scripted, scenario: Callable[[Pilot[Any]], Awaitable[None]], *wanted: str) -> Any:
    """Run the live screens at 80 x 24, over a script, and return what ended them."""
    app = Watch(scripted, Names(wanted), 0.05)  # type: ignore[arg-type]

    async def live() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            await scenario(pilot)

    asyncio.run(live())
    return app.return_value


def typed(pilot: Pilot[Any], *keys: str) -> None:
    """Type without waiting for anything between two keys, as over a slow line."""
    for key in keys:
        one = len(key) == 1
        pilot.app.post_message(Key(_character_to_key(key) if one else key, key if one else None))


def text(pilot: Pilot[Any]) -> str:
    """Return what is on the screen."""
    lines = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in line) for line in lines)


async def until(pilot: Pilot[Any], shown: str) -> str:
    """Return the screen once `shown` is on it, over however many lines."""
    for _ in range(400):
        if shown in " ".join(text(pilot).replace("│", " ").split()):
            return text(pilot)
        await pilot.pause(0.02)
    raise AssertionError(f"{shown!r} is not on:\n{text(pilot)}")
