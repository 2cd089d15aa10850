"""Sessions whose health is looked at: their clocks put back, their agents silenced, all without waiting."""

import time
from typing import Any
from uuid import UUID

from hosting import SYSTEM, Hosting, T
from state_world import agent_bytes

from fntx_sessions.automation.health import sweep as health
from fntx_sessions.automation.health.looking import check_session
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.redis_client import key

REMOTE = "OtherServiceAgent"


def remote(hosting: Hosting, **config: Any) -> UUID:
    """A started session whose one agent runs elsewhere, and reported just now."""
    session_id = hosting.create(config={"agents": [REMOTE], **config})
    hosting.run("UPDATE session_agents SET ready_at = now() WHERE session_id = :id", id=session_id)
    hosting.do(T.START, session_id)
    report(hosting, session_id)
    return session_id


def report(hosting: Hosting, session_id: UUID, *, ago_s: float = 0.0, moves: bool = True, **internal: Any) -> None:
    """Let the remote agent report, or only beat its heart, as if `ago_s` seconds ago."""
    epoch = hosting.row(session_id)["epoch"]
    parts = {f"agent/{REMOTE}": agent_bytes(REMOTE, n=time.monotonic_ns(), **internal)} if moves else {}
    LiveState(hosting.desk.redis, hosting.desk.settings).report(Report(session_id, epoch, REMOTE, parts))
    if ago_s:
        at_ms = int((redis_now(hosting) - ago_s) * 1000)
        hosting.desk.redis.hset(key(session_id, "live"), f"beat:{REMOTE}", at_ms)


def stands_still(hosting: Hosting, session_id: UUID, ago_s: float, agent: str = REMOTE) -> None:
    """Let the agent's own part have moved last so long ago."""
    mark = f"1/{int(redis_now(hosting) - ago_s)}.000000"
    hosting.desk.redis.hset(key(session_id, "live"), f"mark:agent/{agent}", mark)


def redis_now(hosting: Hosting) -> float:
    seconds, micros = hosting.desk.redis.time()
    return seconds + micros / 1e6


def aged(hosting: Hosting, session_id: UUID, seconds: float = 3600.0) -> None:
    """Let the session's status have begun so long ago; it was saved since."""
    hosting.run(
        "UPDATE sessions SET status_since = status_since - make_interval(secs => :s), "
        "started_at = started_at - make_interval(secs => :s) WHERE session_id = :id",
        id=session_id,
        s=seconds,
    )
    hosting.run("UPDATE session_work SET last_saved_at = now() WHERE session_id = :id", id=session_id)


def swept(hosting: Hosting) -> health.Swept:
    """Look at the health of every session now."""
    hosting.run("UPDATE session_work SET next_health_at = now() WHERE next_health_at IS NOT NULL")
    return health.sweep(hosting.desk, SYSTEM)


def checks(hosting: Hosting, session_id: UUID) -> dict[str, dict[str, Any]]:
    """Return a session's checks by name."""
    return {check["name"]: check for check in check_session(hosting.desk, session_id)["checks"]}


def grade(hosting: Hosting, session_id: UUID, check: str) -> str:
    return str(checks(hosting, session_id)[check]["grade"])
