"""fntx.sessions.get and the other questions: arguments in, what is committed out. They change nothing."""

from typing import Any
from uuid import UUID

from fntx_sessions.lifecycle.arguments import ListArguments, PlanArguments, QueryArguments
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.reads import checkpoints as kept
from fntx_sessions.lifecycle.reads import history, metrics, sessions, timeline, trades
from fntx_sessions.lifecycle.reads.asked import HistoryQuery, TradesQuery
from fntx_sessions.lifecycle.reads.board import BoardPage, BoardQuery, read_board
from fntx_sessions.lifecycle.reads.curve import CurveQuery, SessionCurve, get_curve
from fntx_sessions.lifecycle.reads.news import NewsArguments, get_news
from fntx_sessions.lifecycle.reads.records import SessionHistory, TradeRecord
from fntx_sessions.lifecycle.recovery.plan import create_recovery_plan
from fntx_sessions.schemas import (
    Model,
    SessionCheckpoint,
    SessionEvent,
    SessionRecoveryPlan,
    SessionTransition,
    TradingSession,
)
from fntx_sessions.security.actor import Actor
from fntx_sessions.state.validation import validate_state
from tasks.base import query
from tasks.desk import desk


class OutcomeArguments(Model):
    """outcome: which command. session_id: whose, for a caller whose token is good for that session alone."""

    command_id: UUID
    session_id: UUID | None = None


@query("fntx.sessions.get")
def get(arguments: QueryArguments) -> TradingSession:
    """Return a session whole."""
    at = desk()
    return sessions.get_session(at.engine, at.redis, at.settings, arguments.session_id)


@query("fntx.sessions.list", within_scope=True)
def list_sessions(actor: Actor, arguments: ListArguments) -> list[TradingSession]:
    """Return the sessions that pass all filters."""
    at = desk()
    return sessions.with_elsewhere(*at.parts(), sessions.list_sessions(at.engine, arguments, actor))


@query("fntx.sessions.board", within_scope=True)
def board(actor: Actor, arguments: BoardQuery) -> BoardPage:
    """Return a page of the board: sessions as rows, those that need somebody first, and how many there are."""
    return read_board(desk(), arguments, actor)


@query("fntx.sessions.events")
def events(arguments: QueryArguments) -> list[SessionEvent]:
    """Return the last events, oldest first."""
    return history.get_events(desk().engine, arguments.session_id, arguments.limit)


@query("fntx.sessions.news")
def news(arguments: NewsArguments) -> dict[str, Any]:
    """Return the next events past a bookmark, oldest first, and where the session stands in that moment."""
    return get_news(desk().engine, arguments)


@query("fntx.sessions.transitions")
def transitions(arguments: QueryArguments) -> list[SessionTransition]:
    """Return the last transitions, oldest first."""
    return history.get_transitions(desk().engine, arguments.session_id, arguments.limit)


@query("fntx.sessions.trades")
def session_trades(arguments: TradesQuery) -> list[TradeRecord]:
    """Return the last trades that were open on the days asked for, oldest first, flat to flat."""
    return trades.get_trades(desk().engine, arguments.session_id, arguments.limit, arguments)


@query("fntx.sessions.history")
def session_history(arguments: HistoryQuery) -> SessionHistory:
    """Return a stretch of the one timeline of all that happened, oldest first, and the cursor of the next."""
    return timeline.get_history(desk().engine, arguments)


@query("fntx.sessions.metrics")
def session_metrics(arguments: QueryArguments) -> dict[str, Any]:
    """Return the measures of a run, and the status they were taken in."""
    return metrics.get_metrics_and_status(desk().engine, arguments.session_id)


@query("fntx.sessions.curve")
def curve(arguments: CurveQuery) -> SessionCurve:
    """Return P&L and exposure over time, thinned to so many points; extremes stay."""
    return get_curve(desk().engine, arguments)


@query("fntx.sessions.checkpoints")
def checkpoints(arguments: QueryArguments) -> list[SessionCheckpoint]:
    """Return the checkpoints, newest first, without their states."""
    return kept.get_checkpoints(desk().engine, arguments.session_id, arguments.limit)


@query("fntx.sessions.plan")
def recovery_plan(arguments: PlanArguments) -> SessionRecoveryPlan:
    """Return what a recovery would try, in its order; changes nothing."""
    at = desk()
    return create_recovery_plan(
        at.engine, at.redis, at.settings, arguments.session_id, arguments.accept_identity, arguments.checkpoint_id
    )


@query("fntx.sessions.validate")
def validate(arguments: QueryArguments) -> dict[str, Any]:
    """Return whether the state is sound: valid, errors and warnings with their paths."""
    return validate_state(*desk().parts(), arguments.session_id)


@query("fntx.sessions.outcome")
def outcome(arguments: OutcomeArguments) -> Outcome:
    """Return what became of a command."""
    return history.get_outcome(desk().engine, arguments.command_id, arguments.session_id)
