"""Watching agents workers close positions: whether they get on with it, and what keeps them from it."""

import time
from typing import Any
from uuid import UUID

from fntx_sessions.automation.flattening_guard import Guard
from fntx_sessions.automation.flattening_quotes import PublishedQuotes
from fntx_sessions.lifecycle.execute import Desk


class Watching:
    """Looks at sessions that others step, round by round. began: there were some."""

    def __init__(self, desk: Desk, guard: Guard) -> None:
        """Take the guard that is told which sessions no more is to be waited for."""
        self.began = False
        self._guard = guard
        self._patience_s = desk.settings.lease_s
        self._quotes = PublishedQuotes(desk)
        self._moved: dict[UUID, tuple[tuple[Any, ...], float]] = {}

    def is_ours(self, row: dict[str, Any]) -> bool:
        """Tell whether nobody else steps a session: no agents worker lives, its own is lost, or none comes to it."""
        host_id, overdue_s = row["host_id"], row["overdue_s"]
        if row["unattended"] or host_id == self._guard.host_id:
            return True
        lost = host_id is not None and not row["host_lives"]
        return lost or (overdue_s is not None and overdue_s > self._patience_s)

    def look(self, found: list[dict[str, Any]]) -> None:
        """Give up, at once, what nothing can be traded for, and what is stepped and did not move for a lease."""
        if not found:
            return
        self.began = True
        self._quotes.refresh(row["config"] for row in found)
        for row in found:
            obstacle = self._quotes.obstacle(row["config"], row["desk_now"]) if row["positions"] else None
            if obstacle is not None:
                self._guard.give_up(row["session_id"], obstacle)
            elif self._stands_still(row):
                self._guard.give_up(row["session_id"], stands_still(row))

    def _stands_still(self, row: dict[str, Any]) -> bool:
        standing, now = (row["positions"], row["in_flight"]), time.monotonic()
        before, since = self._moved.setdefault(row["session_id"], (standing, now))
        if before != standing:
            self._moved[row["session_id"]] = standing, now
            return False
        is_stepped = row["overdue_s"] is None or row["overdue_s"] <= 0
        return is_stepped and now - since > self._patience_s


def stands_still(row: dict[str, Any]) -> str:
    """Return what is known of a session that was not closed in time: who stepped it last, and what kept it open."""
    if row["stepped_at"] is None:
        return "no worker has stepped it: ask again"
    stepped = f"a worker stepped it last at {row['stepped_at']:%H:%M:%S} UTC, and it is not closed yet"
    return f"{stepped}: {row['blocked'] or 'ask again; `fntx events ID` says what it waits for'}"
