"""Who may do what in Redis: a user for the desk's own processes, one for those who ask it. `deploy/redis.acl` is this.

`python -m fntx_sessions.stack.redis_acl [--check]` writes that file, or says that it is not what stands here. The stack
of `fntx up` gives its Valkey the first of them. Nobody is given CONFIG, KEYS, FLUSHALL, MONITOR, ACL or SHUTDOWN.
"""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from fntx_sessions.generated_page import write_or_check

PAGE = Path(__file__).parents[2] / "deploy" / "redis.acl"
COMMAND = "python -m fntx_sessions.stack.redis_acl"
_CONNECTION = (
    "ping", "select", "client|setinfo", "client|setname", "client|id", "multi", "exec", "discard", "watch", "unwatch",
)  # fmt: skip
_SCRIPTS = ("eval", "evalsha", "script|load", "script|exists", "time")


@dataclass(frozen=True, slots=True)
class AclUser:
    """One user: its name, for whom it is, and what it may do where. keys and channels: as Redis writes them."""

    name: str
    whose: str
    commands: tuple[str, ...]
    keys: tuple[str, ...]
    channels: tuple[str, ...]

    def line(self, secret: str, database: int = 0) -> str:
        """Return its line of a configuration; `secret`: how its password is given there. database: its number."""
        channels = [channel.format(database=database) for channel in self.channels]
        words = (secret, "resetkeys", *self.keys, "resetchannels", *channels, "-@all")
        return f"user {self.name} on {' '.join((*words, *(f'+{command}' for command in self.commands)))}"


DESK = AclUser(
    "fntx",
    "workers, beat, Flower and the command line",
    (
        *_CONNECTION, *_SCRIPTS, "info",
        "get", "set", "setex", "mget", "incr", "incrby", "del", "unlink", "exists", "expire", "pexpire", "persist",
        "scan",
        "hget", "hset", "hsetnx", "hmget", "hgetall", "hdel", "hkeys", "hlen", "hexists", "hstrlen", "hincrby",
        "lpush", "rpush", "rpop", "brpop", "llen", "lrange", "sadd", "srem", "smembers",
        "zadd", "zrem", "zrange", "zrangebyscore", "zrevrangebyscore",
        "xadd", "xread", "xrange", "xrevrange", "xlen", "xdel", "xinfo|stream",
        "publish", "subscribe", "unsubscribe", "psubscribe", "punsubscribe",
    ),
    (
        "~fntx:*",
        # Celery's: queues with their priorities, what workers hold, who listens where, answers.
        "~commands*", "~queries*", "~agents*", "~sweeps*", "~checkpoints*", "~maintenance*", "~celery*",
        "~unacked*", "~_kombu.binding*", "~*.reply.celery.pidbox*", "~*.celery.pidbox*",
    ),
    # What workers tell, and what they are told: who listens to a pattern needs that very pattern.
    ("&/{database}.celeryev/*", "&/{database}.celery.pidbox", "&celery-task-meta-*"),
)  # fmt: skip

CALLER = AclUser(
    "fntx_caller",
    "services that hold a manager, and agents in other services",
    (
        *_CONNECTION, *_SCRIPTS,
        "get", "mget", "exists", "unlink", "hget", "hset", "hmget", "hgetall", "hdel", "hexists", "hkeys", "hlen",
        "hincrby", "hstrlen", "expire", "lpush", "llen", "smembers", "sadd", "xadd", "xread", "xrange", "xrevrange",
        "xlen", "xinfo|stream", "subscribe", "unsubscribe",
    ),
    (
        # It puts messages in, and has no command by which to see what others put there; it reads answers and takes them
        # away, and has none by which to write one.
        "~commands*", "~queries*", "~celery-task-meta-*", "~_kombu.binding*",
        # What an agent is told, and reports by a script that asks for its ticket.
        "~fntx:{*}:live", "~fntx:{*}:inbox", "~fntx:{*}:records", "%R~fntx:context:*",
    ),
    ("&celery-task-meta-*",),
)  # fmt: skip
USERS = (DESK, CALLER)

_HEAD = """\
# Users of Redis or Valkey for a desk, with the rights that its parts use and no others: the tests run a desk so.
# Made by `{command}`. Put it beside the server's configuration, for its owner to read
# alone (0600), replace each PASSWORD, and have the configuration say `include redis.acl`. `default`, who may do
# everything, is switched off at the end: keep another for yourself (`user admin on >... ~* &* +@all`). A desk in a
# database other than 0 has that number in its channels: `&/0.` stands for the first.
"""


def acl_file() -> str:
    """Return `deploy/redis.acl`."""
    lines = [_HEAD.format(command=COMMAND)]
    for user in USERS:
        lines += [f"# {user.name}: {user.whose}.", user.line(f">PASSWORD_OF_{user.name.upper()}"), ""]
    return "\n".join([*lines, "user default off", ""])


def hashed(password: str) -> str:
    """Return a password as Redis keeps it, so that a configuration needs not hold it."""
    return f"#{hashlib.sha256(password.encode()).hexdigest()}"


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, acl_file(), "fntx_sessions/stack/redis_acl.py", COMMAND, sys.argv[1:]))
