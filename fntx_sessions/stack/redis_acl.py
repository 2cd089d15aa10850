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
_CALLERS_CONNECTION = tuple(command for command in _CONNECTION if not command.endswith("watch"))
_SCRIPTS = ("eval", "evalsha", "script|load", "script|exists", "time")
# In a pattern of keys: each queue in turn, of all or of those that callers send to.
_EACH_QUEUE, _EACH_ASKED = "EACH_QUEUE", "EACH_ASKED"


@dataclass(frozen=True, slots=True)
class Selector:
    """Commands that a user may use on these keys and on no others."""

    keys: tuple[str, ...]
    commands: tuple[str, ...]

    def words(self) -> str:
        """Return it as Redis reads it, from version 7 on."""
        return f"({' '.join((*_patterns(self.keys), '-@all', *(f'+{command}' for command in self.commands)))})"


@dataclass(frozen=True, slots=True)
class AclUser:
    """One user: its name, for whom it is, and what it may do where. keys and channels: as Redis writes them.

    commands: on all of `keys`; selectors: on theirs alone.
    """

    name: str
    whose: str
    commands: tuple[str, ...]
    keys: tuple[str, ...]
    channels: tuple[str, ...]
    selectors: tuple[Selector, ...] = ()

    def line(self, secret: str, database: int = 0) -> str:
        """Return its line of a configuration; `secret`: how its password is given there. database: its number."""
        channels = [channel.format(database=database) for channel in self.channels]
        words = (secret, "resetkeys", *_patterns(self.keys), "resetchannels", *channels, "-@all")
        rights = (*(f"+{command}" for command in self.commands), *(each.words() for each in self.selectors))
        return f"user {self.name} on {' '.join((*words, *rights))}"


def _patterns(keys: tuple[str, ...]) -> list[str]:
    from tasks import routes  # noqa: PLC0415 - the names belong to the Celery edge

    asked = (routes.SAFETY, routes.COMMANDS, routes.QUERIES, routes.UNNAMED)
    found = list[str]()
    for key in keys:
        mark, queues = (_EACH_QUEUE, routes.QUEUES) if _EACH_QUEUE in key else (_EACH_ASKED, asked)
        found += [key.replace(mark, queue) for queue in queues] if mark in key else [key]
    return found


DESK = AclUser(
    "fntx",
    "workers, beat, Flower and the command line",
    (
        *_CONNECTION, *_SCRIPTS, "info",
        "get", "set", "setex", "mget", "incr", "incrby", "del", "unlink", "exists", "expire", "pexpire", "persist",
        "scan",
        "hget", "hset", "hsetnx", "hmget", "hgetall", "hdel", "hkeys", "hlen", "hexists", "hstrlen", "hincrby",
        "lpush", "rpush", "rpop", "brpop", "llen", "lrange", "type", "sadd", "srem", "smembers",
        "zadd", "zrem", "zrange", "zrangebyscore", "zrevrangebyscore",
        "xadd", "xread", "xrange", "xrevrange", "xlen", "xdel", "xinfo|stream",
        "publish", "subscribe", "unsubscribe", "psubscribe", "punsubscribe",
    ),
    (
        "~fntx:*",
        # Celery's: queues with their priorities, what workers hold, who listens where, answers.
        f"~{_EACH_QUEUE}*", "~celery-task-meta-*",
        "~unacked*", "~_kombu.binding*", "~*.reply.celery.pidbox*", "~*.celery.pidbox*",
    ),
    # What workers tell, and what they are told: who listens to a pattern needs that very pattern.
    ("&/{database}.celeryev/*", "&/{database}.celery.pidbox", "&celery-task-meta-*"),
)  # fmt: skip

CALLER = AclUser(
    "fntx_caller",
    "services that hold a manager, and agents in other services",
    (*_CALLERS_CONNECTION, "time", "subscribe", "unsubscribe"),
    (),
    ("&celery-task-meta-*",),
    (
        # It puts messages in, and has no command by which to see or take what others put there.
        Selector((f"~{_EACH_ASKED}",), ("lpush", "exists")),
        # It reads answers and takes them away, and has none by which to write one.
        Selector(("~celery-task-meta-*",), ("get", "mget", "unlink")),
        # An agent reports by a script, which asks for its ticket; what the script does is looked at as well.
        Selector(("~fntx:{*}:live", "~fntx:{*}:records"), ("eval", "evalsha")),
        Selector(("~fntx:{*}:live",), ("hget", "hmget", "hset", "hincrby")),
        Selector(("~fntx:{*}:records",), ("xadd", "xlen", "xrange", "xrevrange")),
        # What sessions are told, and what one agent may know, sealed to its key.
        Selector(("%R~fntx:{*}:inbox",), ("xread", "xrange", "xrevrange", "xinfo|stream")),
        Selector(("%R~fntx:{*}:inbox:*",), ("hget",)),
    ),
)
USERS = (DESK, CALLER)

_HEAD = """\
# Users of Redis (7 or newer) or Valkey for a desk, with the rights that its parts use and no others: the tests run a
# desk so.
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
