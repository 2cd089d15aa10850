"""A desk whose parts are users of Redis with the rights of `deploy/redis.acl`: they suffice, and more is refused."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
from sqlalchemy import Engine
from worker_process import beat, wait_until

from fntx_sessions import AgentClient, SessionStatus
from fntx_sessions.database.engine import build_engine
from fntx_sessions.exceptions import StackError
from fntx_sessions.lifecycle import credentials
from fntx_sessions.lifecycle.credentials import Holder
from fntx_sessions.security.actor import Actor
from fntx_sessions.stack.queues import queue_depths
from fntx_sessions.stack.redis_acl import CALLER, DESK, PAGE, USERS, AclUser, acl_file
from fntx_sessions.stack.redis_status import read_redis
from fntx_sessions.state.redis_client import key, redis_errors
from tasks import routes

__all__ = ["quiet_desk"]
ALL = ",".join(routes.QUEUES)
HANS = Actor("hans", frozenset({"admin"}))


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
    keep(guarded, session_id, "first")
    with AgentClient(session_id, PLANNER, settings=guarded.desk.settings.model_copy(update=guarded.caller())) as agent:
        agent.join()
        run(started, guarded.desk.manager(**guarded.caller()), session_id)
        wait_until(lambda: any(event.event == "session_started" for event in agent.events()), "the agent hears of it")
        assert agent.report(state={"internal_state": {"n": 1}}) > 0
        assert agent.credentials()["key"].get_secret_value() == "first value"
        keep(guarded, session_id, "second", credentials.rotate_credential)
        assert agent.credentials(fresh=True)["key"].get_secret_value() == "second value"
        with guarded.desk.redis() as client:
            wait_until(lambda: client.exists(key(session_id, "hot")), "it is saved")
        person = guarded.pages.nobody()
        assert person.get("/healthcheck").status == 200
        operator = guarded.pages.somebody("operator")
        for page in ("/sessions", f"/sessions/{session_id}", "/sessions/health", "/workers", "/metrics"):
            assert operator.get(page).status == 200, page
        run(stopped, guarded.desk.manager(**guarded.caller()), session_id)
    found = read_redis(guarded.url(DESK))
    assert (found.error, found.refuses) == (None, "")
    assert guarded.refused() == []


def keep(guarded: Guarded, session_id: UUID, value: str, change: Any = credentials.set_credential) -> None:
    with as_desk(guarded) as engine:
        change(engine, guarded.desk.settings, HANS, Holder(session_id=session_id), "key", f"{value} value")


@contextmanager
def as_desk(guarded: Guarded) -> Iterator[Engine]:
    made = build_engine(guarded.desk.database_url, guarded.desk.settings)
    try:
        yield made
    finally:
        made.dispose()


# Kind of key -> one of it, and what a caller may do with it.
REACH: dict[str, tuple[str, set[str]]] = {
    **{f"queue {queue}": (queue, {"LPUSH", "EXISTS"}) for queue in ("safety", "commands", "queries", "celery")},
    **{f"queue {queue}": (queue, set()) for queue in ("agents", "sweeps", "checkpoints", "maintenance")},
    "bindings": ("_kombu.binding.commands", set()),
    "who is bound": ("_kombu.binding_permanent.commands", set()),
    "unacknowledged": ("unacked", set()),
    "answer": ("celery-task-meta-1", {"GET", "MGET", "UNLINK"}),
    "live": ("fntx:{1}:live", {"HGET", "HMGET", "HSET", "HINCRBY", "EVAL", "EVALSHA"}),
    "records": ("fntx:{1}:records", {"XADD", "XLEN", "XRANGE", "XREVRANGE", "EVAL", "EVALSHA"}),
    "inbox": ("fntx:{1}:inbox", {"XREAD", "XRANGE", "XREVRANGE", "XINFO"}),
    "inbox of an agent": ("fntx:{1}:inbox:Planner", {"HGET"}),
    "saves": ("fntx:{1}:hot", set()),
    "told to agents": ("fntx:context:{1}", set()),
    "market": ("fntx:market", set()),
    "another's": ("other", set()),
}
# Every command that takes the name of a key where KEY stands, but for those of types that the desk does not use.
ON_A_KEY = """
DEL KEY|UNLINK KEY|EXPIRE KEY 0|PEXPIRE KEY 0|EXPIREAT KEY 1|PEXPIREAT KEY 1|PERSIST KEY|EXISTS KEY|TYPE KEY|TTL KEY
PTTL KEY|EXPIRETIME KEY|TOUCH KEY|DUMP KEY|RESTORE KEY 0 x|RENAME KEY KEY2|RENAMENX KEY KEY2|RENAME KEY2 KEY
COPY KEY KEY2|COPY KEY2 KEY|MOVE KEY 1|SORT KEY|SORT_RO KEY|OBJECT ENCODING KEY|MEMORY USAGE KEY|WATCH KEY
GET KEY|MGET KEY|GETDEL KEY|GETEX KEY|GETRANGE KEY 0 1|STRLEN KEY|SET KEY x|SETEX KEY 9 x|SETNX KEY x|MSET KEY x
GETSET KEY x|APPEND KEY x|SETRANGE KEY 0 x|INCR KEY|INCRBY KEY 1|DECR KEY|SETBIT KEY 0 1|PFADD KEY x
HGET KEY f|HMGET KEY f|HGETALL KEY|HKEYS KEY|HVALS KEY|HLEN KEY|HEXISTS KEY f|HSTRLEN KEY f|HSCAN KEY 0|HRANDFIELD KEY
HSET KEY f x|HSETNX KEY f x|HINCRBY KEY f 1|HDEL KEY f
LPUSH KEY x|RPUSH KEY x|LPUSHX KEY x|RPUSHX KEY x|LPOP KEY|RPOP KEY|BLPOP KEY 0|BRPOP KEY 0|LLEN KEY|LRANGE KEY 0 1
LINDEX KEY 0|LSET KEY 0 x|LREM KEY 0 x|LTRIM KEY 1 0|LINSERT KEY BEFORE x y|LPOS KEY x|LMPOP 1 KEY LEFT
LMOVE KEY KEY2 LEFT LEFT|LMOVE KEY2 KEY LEFT LEFT|RPOPLPUSH KEY KEY2|BRPOPLPUSH KEY KEY2 0
SADD KEY x|SREM KEY x|SMEMBERS KEY|SCARD KEY|SPOP KEY|SISMEMBER KEY x|SSCAN KEY 0|SUNIONSTORE KEY KEY2|SMOVE KEY KEY2 x
ZADD KEY 1 x|ZREM KEY x|ZRANGE KEY 0 1|ZPOPMIN KEY|ZCARD KEY|ZRANGESTORE KEY KEY2 0 1
XADD KEY * f x|XLEN KEY|XRANGE KEY - +|XREVRANGE KEY + -|XREAD STREAMS KEY 0|XDEL KEY 1-1|XTRIM KEY MAXLEN 0
XSETID KEY 1-1|XINFO STREAM KEY|XGROUP CREATE KEY g 0
EVAL s 1 KEY|EVALSHA s 1 KEY|EVAL_RO s 1 KEY
"""


@pytest.mark.parametrize("kind", REACH)
def test_a_caller_may_do_to_each_kind_of_key_what_is_needed_and_nothing_else(guarded: Guarded, kind: str) -> None:
    """By right, not by spelling: a hundred commands on a key of each kind, as Redis itself judges them."""
    name, may = REACH[kind]
    asked = [each.split() for each in ON_A_KEY.strip().replace("\n", "|").split("|")]
    judged = {
        " ".join(words): guarded.admin.execute_command(
            "ACL",
            "DRYRUN",
            CALLER.name,
            *(word.replace("KEY", name) if word in {"KEY", "KEY2"} else word for word in words),
        )
        for words in asked
    }
    assert {words.split()[0] for words, said in judged.items() if said in {b"OK", "OK"}} == may


def test_a_right_that_is_missing_is_told_with_the_way_out(guarded: Guarded) -> None:
    """In our own words: whoever sets a desk up is sent to the file of rights, not to `fntx up`."""
    with (
        redis.Redis.from_url(guarded.url(CALLER)) as client,
        pytest.raises(StackError, match=r"redis\.acl"),
        redis_errors(),
    ):
        client.hget("fntx:{1}:hot", "x")
    guarded.refused()


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
    ["LRANGE commands 0 -1", "RPOP commands", "UNLINK commands", "LPUSH sweeps x", "SET celery-task-meta-1 x",
     "SETEX celery-task-meta-1 9 x",
     "HGETALL fntx:{1}:hot", "GET fntx:market", "HGETALL unacked", "PUBLISH /0.celery.pidbox x",
     "SUBSCRIBE /0.celeryev/worker.heartbeat", "XADD fntx:context:x * a b", "SCAN 0", "INFO", "SCRIPT LOAD x"],
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
