"""Looking at sessions: their lists, measures and histories."""

from collections.abc import Iterable
from datetime import date
from typing import Any

from fntx_sessions.caller.ids import as_id
from fntx_sessions.caller.manager import SessionId
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.reads.records import SessionHistory, TradeRecord
from fntx_sessions.managing.base import Sessions
from fntx_sessions.schemas import SessionEvent, SessionMetrics, SessionTransition, TradingSession

# A trade date, or its ISO text; None: no bound on that side.
Day = date | str | None


class Reading(Sessions):
    """Questions about sessions; they change nothing."""

    async def list_sessions(self, **filters: Any) -> list[TradingSession]:
        """Return the sessions that pass all filters, newest first, without states, events and checkpoints.

        filters: status (one or a list), session_type, template_name, account_id, tag, parent_session_id,
        include_children (False), limit (100), order (``newest`` or ``oldest``).
        """
        if isinstance(filters.get("status"), str):
            filters["status"] = [filters["status"]]
        found = await self._query("fntx.sessions.list", filters)
        return [self._sessions.take_in(TradingSession.model_validate(one), whole=False) for one in found]

    async def get_session_metrics(self, session_id: SessionId) -> SessionMetrics:
        """Return the measures of a session's run; its status is learned on the way."""
        found = await self._about("metrics", session_id)
        self._learn(found["session"])
        return SessionMetrics.model_validate(found["metrics"])

    async def get_session_events(self, session_id: SessionId, limit: int = 100) -> list[SessionEvent]:
        """Return the last events, oldest first."""
        found = await self._about("events", session_id, limit=limit)
        return [SessionEvent.model_validate(one) for one in found]

    async def get_session_transitions(self, session_id: SessionId, limit: int = 100) -> list[SessionTransition]:
        """Return the last transitions, oldest first."""
        found = await self._about("transitions", session_id, limit=limit)
        return [SessionTransition.model_validate(one) for one in found]

    async def get_session_trades(
        self,
        session_id: SessionId,
        limit: int = 100,
        *,
        first: Day = None,
        last: Day = None,
    ) -> list[TradeRecord]:
        """Return the last trades, flat to flat, oldest first; open ones have no outcome yet.

        first, last: trade dates, both included; only trades that were open on one of those days.
        """
        found = await self._about("trades", session_id, limit=limit, first=first, last=last)
        return [TradeRecord.model_validate(one) for one in found]

    async def get_session_history(
        self,
        session_id: SessionId,
        *,
        first: Day = None,
        last: Day = None,
        kinds: Iterable[str] | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> SessionHistory:
        """Return what happened, all kinds in one order, oldest first; ``history.after`` asks for what follows.

        first, last: trade dates, both included. kinds: transition, event, trade, checkpoint, decision, error, sample;
        None: all but samples.
        """
        asked = {"first": first, "last": last, "limit": limit, "after": after}
        named = {"kinds": None if kinds is None else list(kinds)}
        return SessionHistory.model_validate(await self._about("history", session_id, **asked, **named))

    async def get_outcome(self, command_id: SessionId) -> Outcome:
        """Return what became of a command, pending and refused included; raises NotFound when it never happened."""
        found = await self._query("fntx.sessions.outcome", {"command_id": as_id(command_id, "command_id")})
        outcome = Outcome.from_dict(found, repeated=True)
        self._sessions.learn_outcome(outcome)
        return outcome
