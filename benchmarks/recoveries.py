"""Recoveries of sessions whose live state is gone: plan, restore, verify, reconcile, PAUSED; by two processes."""

from uuid import UUID, uuid4

from benchmarks.clients import COUNT, Clients, Place, clients, stores
from benchmarks.desk import ANN, Desk
from benchmarks.report import Result, middle
from benchmarks.states import agent_state
from fntx_sessions.lifecycle import execute
from fntx_sessions.lifecycle.arguments import CommandArguments, RecoverArguments
from fntx_sessions.lifecycle.reads.sessions import get_session
from fntx_sessions.schemas import Trigger
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.redis_client import key
from fntx_sessions.state.saves import save_sessions

SESSIONS = 40
AGENT_BYTES = 4_000
ROUNDS = 3


def recoveries(desk: Desk, sessions: list[UUID]) -> list[Result]:
    """Return recoveries a second from the hot copies of `sessions`, which are active."""
    ids = sessions[:SESSIONS]
    for session_id in ids:
        arguments = CommandArguments(session_id=session_id, reason="bench")
        execute.command(desk.tools, Trigger.SUSPEND, ANN, arguments, uuid4()).raise_for_refusal()
    with clients(desk) as pair:
        rates = [_round(desk, pair, ids, number) for number in range(1 + ROUNDS)]
    return [Result(f"recoveries, {SESSIONS} sessions, 5 agents of 4 KB", "/s", middle(rates[1:]), rounds=ROUNDS)]


def _round(desk: Desk, pair: Clients, ids: list[UUID], number: int) -> float:
    _reported(desk, ids, number)
    save_sessions(desk.engine, desk.redis, desk.settings, ids)
    desk.redis.delete(*(key(session_id, "live") for session_id in ids))
    return len(ids) / pair.timed(recover_all, [ids[share::COUNT] for share in range(COUNT)])


def recover_all(place: Place, ids: list[UUID]) -> None:
    """Recover sessions, one after the other."""
    desk = execute.Desk(*stores(place))
    for session_id in ids:
        arguments = RecoverArguments(session_id=session_id, reason="bench")
        execute.command(desk, Trigger.RECOVER, ANN, arguments, uuid4()).raise_for_refusal()


def _reported(desk: Desk, ids: list[UUID], number: int) -> None:
    live = LiveState(desk.redis, desk.settings)
    for session_id in ids:
        session = get_session(desk.engine, desk.redis, desk.settings, session_id)
        for agent in session.roster:
            state = agent_state(agent, AGENT_BYTES, session_id.int % 2**32 + number)
            live.report(Report(session_id, session.epoch, agent, {f"agent/{agent}": state}))
