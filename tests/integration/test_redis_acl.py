"""A desk whose parts are users of Redis with the rights of `deploy/redis.acl`: they suffice, and more is refused."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
import redis
from agent_world import PLANNER
from pages_world import Pages, pages_running
from pydantic import SecretStr
from redis.exceptions import NoPermissionError
from running_desk import REDIS_DATABASE, RunningDesk, quiet_desk, run
from worker_process import beat, wait_until

from fntx_sessions import AgentClient, SessionStatus
from fntx_sessions.stack.queues import queue_depths
from fntx_sessions.stack.redis_acl import CALLER, DESK, PAGE, USERS, AclUser, acl_file
from fntx_sessions.stack.redis_status import read_redis
from fntx_sessions.state.redis_client import key

__all__ = ["quiet_desk"]
ALL = "commands,queries,celery,agents,sweeps,checkpoints,maintenance"


@dataclass(frozen=True)
class Guarded:
    """A desk whose processes are the user `fntx`, and whose callers are `fntx_caller`."""

    desk: RunningDesk
    admin: redis.Redis
    pages: Pages

    def url(self, user: AclUser) -> str:
        return as_user(self.desk.redis_url, user)

    def caller(self) -> dict[str, Any]:
        """What a caller's settings differ in."""
        return {"redis_url": SecretStr(self.url(CALLER)), "database_url": None, "maintenance_database_url": None}

    def refused(self) -> list[str]:
        """Return what anybody was refused since the last look."""
        found = [f"{entry['username']}: {entry['context']} {entry['reason']} {entry['object']}" for entry in self.log()]
        self.admin.execute_command("ACL", "LOG", "RESET")
        return found

    def log(self) -> list[dict[str, str]]:
        raw = self.admin.execute_command("ACL", "LOG", "100")
        return [{str(name): str(value) for name, value in decoded(entry).items()} for entry in raw]


def decoded(entry: Any) -> dict[str, Any]:
    pairs = entry if isinstance(entry, dict) else dict(zip(entry[::2], entry[1::2], strict=True))
    told = {name: value.decode() if isinstance(value, bytes) else value for name, value in pairs.items()}
    return {name.decode() if isinstance(name, bytes) else name: value for name, value in told.items()}


def as_user(url: str, user: AclUser) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{user.name}:secret@{parts.hostname}:{parts.port}").geturl()


def set_user(admin: redis.Redis, user: AclUser) -> None:
    admin.execute_command("ACL", "SETUSER", user.name, "reset", *user.line(">secret", REDIS_DATABASE).split()[2:])


@pytest.fixture(scope="module")
def guarded(quiet_desk: RunningDesk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A worker of all queues, beat and Flower under their user."""
    with ExitStack() as ending:
        admin = ending.enter_context(quiet_desk.redis())
        for user in USERS:
            set_user(admin, user)
            ending.callback(admin.execute_command, "ACL", "DELUSER", user.name)
        admin.execute_command("ACL", "LOG", "RESET")
        url = SecretStr(as_user(quiet_desk.redis_url, DESK))
        desk = replace(quiet_desk, settings=quiet_desk.settings.model_copy(update={"redis_url": url}))
        ending.enter_context(desk.worker("-Q", ALL, "-c", "2"))
        ending.enter_context(beat(desk._environment(), desk.folder / "beat.log"))
        yield Guarded(desk, admin, ending.enter_context(pages_running(desk)))


def test_a_desk_does_its_work_under_its_users(guarded: Guarded) -> None:
    """Commands, queries, an agent of another service, steps, saves, checkpoints, pages, doctor: nothing is refused."""

    async def begun(manager: Any) -> UUID:
        async with manager:
            config = {"agents": [PLANNER, "EnvironmentWatcherAgent"]}
            return (await manager.create_session("paper_trading", config=config)).session_id

    async def started(manager: Any, session_id: UUID) -> None:
        async with manager:
            assert await manager.start_session(session_id)
            assert (await manager.get_session(session_id)).status is SessionStatus.ACTIVE

    async def stopped(manager: Any, session_id: UUID) -> None:
        async with manager:
            assert await manager.stop_session(session_id, reason="done")

    session_id = run(begun, guarded.desk.manager(**guarded.caller()))
    with AgentClient(session_id, PLANNER, settings=guarded.desk.settings.model_copy(update=guarded.caller())) as agent:
        agent.join()
        run(started, guarded.desk.manager(**guarded.caller()), session_id)
        wait_until(lambda: any(event.event == "session_started" for event in agent.events()), "the agent hears of it")
        assert agent.report(state={"internal_state": {"n": 1}}) > 0
        with guarded.desk.redis() as client:
            wait_until(lambda: client.exists(key(session_id, "hot")), "it is saved")
        person = guarded.pages.nobody()
        assert person.get("/healthcheck").status == 200
        operator = guarded.pages.somebody("operator")
        for page in ("/sessions", f"/sessions/{session_id}", "/desk/health", "/workers", "/metrics"):
            assert operator.get(page).status in {200, 302, 404}, page
        run(stopped, guarded.desk.manager(**guarded.caller()), session_id)
    found = read_redis(guarded.url(DESK))
    assert (found.error, found.refuses) == (None, "")
    assert guarded.refused() == []


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.name)
@pytest.mark.parametrize(
    "words",
    ["CONFIG GET *", "CONFIG SET maxmemory 1", "KEYS *", "FLUSHALL", "FLUSHDB", "ACL LIST", "MONITOR",
     "SHUTDOWN NOSAVE",
     "CLIENT LIST", "CLIENT KILL TYPE normal", "REPLICAOF NO ONE", "MODULE LIST", "GET other",
     "SET other 1",
     "FUNCTION LIST", "BGSAVE", "SWAPDB 0 1", "MIGRATE h 1 k 0 1", "SORT fntx:x", "DUMP fntx:x",
     "RENAME fntx:x fntx:y"],
)  # fmt: skip
def test_more_is_refused(guarded: Guarded, user: AclUser, words: str) -> None:
    """Nobody can look around, empty, reconfigure or end the server, nor reach what is not the desk's."""
    with redis.Redis.from_url(guarded.url(user)) as client, pytest.raises(NoPermissionError):
        client.execute_command(*words.split())
    guarded.refused()


@pytest.mark.parametrize(
    "words",
    ["LRANGE commands 0 -1", "RPOP commands", "DEL commands", "LPUSH sweeps x", "SET celery-task-meta-1 x",
     "SETEX celery-task-meta-1 9 x",
     "HGETALL fntx:{1}:hot", "GET fntx:market", "HGETALL unacked", "PUBLISH /0.celery.pidbox x",
     "SUBSCRIBE /0.celeryev/worker.heartbeat", "XADD fntx:context:x * a b", "DEL fntx:{1}:live", "SCAN 0", "INFO"],
)  # fmt: skip
def test_a_caller_is_not_the_desk(guarded: Guarded, words: str) -> None:
    """Who may only ask reads nobody's commands, writes no answers, sends no sweeps and speaks to no worker."""
    with redis.Redis.from_url(guarded.url(CALLER)) as client, pytest.raises(NoPermissionError):
        client.execute_command(*words.split())
    guarded.refused()


def test_what_a_script_does_is_checked_as_well(guarded: Guarded) -> None:
    """Lua is no way around."""
    with redis.Redis.from_url(guarded.url(CALLER)) as client, pytest.raises(redis.ResponseError, match="permission"):
        client.eval("return redis.call('LRANGE', KEYS[1], 0, -1)", 1, "commands")
    guarded.refused()


def test_the_file_is_what_the_code_says() -> None:
    """Who edits one of them edits both."""
    assert PAGE.read_text() == acl_file()
    assert all(f"user {user.name} on >PASSWORD" in acl_file() for user in USERS)


def test_queues_can_be_counted(guarded: Guarded) -> None:
    """By the desk's user, which status and doctor are."""
    with redis.Redis.from_url(guarded.url(DESK)) as client:
        assert set(queue_depths(client)) >= {"commands", "queries", "sweeps"}
