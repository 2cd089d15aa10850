"""Two hundred agents of other services on one stack: all join, are told everything in order, and lose nothing."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from agent_world import AgentDesk, agent_desk, quiet_desk
from hosting import T

from fntx_sessions import AgentClient
from fntx_sessions.automation.intake import take_in

__all__ = ["agent_desk", "quiet_desk"]

SESSIONS, EACH, REPORTS = 20, 10, 3
WHEN = "2026-01-05T15:00:00+00:00"


@pytest.mark.timeout(180)
def test_two_hundred_remote_agents_on_one_stack(agent_desk: AgentDesk) -> None:
    """Each joins by a worker, reads created, started and paused once it acknowledges, and its records are kept once."""
    sessions = [agent_desk.session(*(f"Remote{number}" for number in range(EACH))) for _ in range(SESSIONS)]
    with ExitStack() as stack, ThreadPoolExecutor(24) as threads:
        clients = [
            stack.enter_context(agent_desk.client(session_id, f"Remote{number}", command_deadline_s=120))
            for session_id in sessions
            for number in range(EACH)
        ]
        list(threads.map(AgentClient.join, clients))
        for session_id in sessions:
            agent_desk.do(T.START, session_id)
        seen = list(threads.map(take_part, clients))
        for session_id in sessions:
            agent_desk.do(T.PAUSE, session_id)
        for events, later in zip(seen, threads.map(AgentClient.events, clients), strict=True):
            events += [event.event for event in later]
        assert seen == [["session_created", "session_started", "session_paused"]] * len(clients)
        assert {client.unsent for client in clients} == {0}
    take_in(agent_desk.hosting.desk)
    [kept] = agent_desk.hosting.rows(
        "SELECT count(*) AS records, count(DISTINCT (session_id, agent, report_id)) AS different, "
        "count(DISTINCT (session_id, agent)) AS agents FROM agent_reports"
    )
    assert kept == {"records": 200 * REPORTS, "different": 200 * REPORTS, "agents": 200}


def take_part(client: AgentClient) -> list[Any]:
    """Read what happened, report under the epoch it told, acknowledge; return the names of the events."""
    found = client.events()
    for number in range(REPORTS):
        told = {"decision_id": str(number), "timestamp": WHEN, "what": "hold"}
        client.report(state={"internal_state": {"n": number}}, decisions=[told])
    client.ack(found[-1])
    client.heartbeat()
    return [event.event for event in found]
