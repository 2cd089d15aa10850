"""A process killed before its first write, before its second, and so on, until one comes through.

Nothing has to be marked in the code: what goes to Postgres, to Redis and to the disk is seen where it leaves the
process. Each transaction's first write and its commit, each statement that is a transaction of its own, each command to
Redis and each opening, link, renaming and removal of a file is a place to die at; the last one is after everything,
before anybody is answered. What is read between two writes changes nothing, so dying before a write is dying after the
one before it; and of a transaction that was not committed nobody sees how far it came.
"""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis.connection
from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

_WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE|COPY|CREATE|ALTER|DROP|TRUNCATE)\b", re.IGNORECASE)
# Commands of the client library's own, and reads.
_NO_WRITES = re.compile(rb"^\*\d+\r\n\$\d+\r\n(HELLO|CLIENT|PING|AUTH|SELECT|SCRIPT|GET|MGET|H?GETALL|HGET|HMGET|"
                        rb"EXISTS|SCAN|HKEYS|HSCAN|ZRANGE|LRANGE|XRANGE|TYPE|STRLEN|HLEN|INFO|TIME)\r\n")  # fmt: skip
_NEW = os.O_CREAT | os.O_TRUNC
_MOST = 120


class Death:
    """Ends this process by SIGKILL at its nth write, and says in a file at which it was."""

    def __init__(self, nth: int, said: Path) -> None:
        self._left = nth
        self._said = said
        self._written = False
        self._saying = False

    def arm(self) -> None:
        """See every write of this process from now on; a forked child's affair, for there is no way back."""
        event.listen(Engine, "before_cursor_execute", self._statement)
        honest_commit = DefaultDialect.do_commit

        def do_commit(dialect: DefaultDialect, connection: object) -> None:
            if self._written:
                self.before("postgres", "COMMIT")
            self._written = False
            honest_commit(dialect, connection)

        DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]
        self._see_redis()
        sys.addaudithook(self._audited)

    def before(self, store: str, what: str) -> None:
        """Die here, or live on."""
        if self._left:
            self._left -= 1
            return
        self._saying = True
        self._said.write_text(f"{store}: {' '.join(what.split())[:150]}")
        os.kill(os.getpid(), signal.SIGKILL)

    def _statement(self, _connection: object, cursor: Any, statement: str, *_: object) -> None:
        if not _WRITES.search(statement):
            return
        alone = cursor.connection.autocommit
        if alone or not self._written:
            self.before("postgres", statement)
        self._written = not alone

    def _see_redis(self) -> None:
        connection = redis.connection.AbstractConnection
        send = connection.send_packed_command

        def pack_commands(self: redis.connection.AbstractConnection, commands: object) -> list[bytes]:
            return [b"".join(self._command_packer.pack(*command)) for command in commands]

        def send_packed_command(itself: object, command: object, check_health: bool = True) -> None:  # noqa: FBT001, FBT002
            items = command if isinstance(command, list) else [command]
            for item in items:
                data = item if isinstance(item, bytes) else str(item).encode()
                if not _NO_WRITES.match(data):
                    self.before("redis", repr(data[:120]))
                send(itself, [item], check_health)

        connection.pack_commands = pack_commands
        connection.send_packed_command = send_packed_command

    def _audited(self, name: str, arguments: tuple[object, ...]) -> None:
        if self._saying:
            return
        if name == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _NEW and not str(path).startswith("/proc"):
                self.before("disk", f"open {path}")
        elif name in ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"):
            self.before("disk", f"{name} {arguments[0]!s}")


def deaths(act: Callable[[], object], folder: Path, fresh: Callable[[], object]) -> Iterator[str]:
    """Yield after each death of a process of its own that ran `act`, before its nth write, saying where it died.

    fresh: called before each, to make what `act` acts on anew. The last one died when all was written.
    """
    said = folder / "died-at"
    for nth in range(_MOST):
        fresh()
        child = os.fork()
        if child == 0:
            _die(act, nth, said)
        _, status = os.waitpid(child, 0)
        where = said.read_text()
        assert os.WIFSIGNALED(status), f"{where}: {status}"
        assert os.WTERMSIG(status) == signal.SIGKILL, where
        yield f"write {nth}, {where}"
        if where.startswith("after"):
            return
    message = f"more than {_MOST} writes"
    raise AssertionError(message)


def _die(act: Callable[[], object], nth: int, said: Path) -> None:
    """Be the process that is killed; one that fails for another reason says so and exits."""
    death = Death(nth, said)
    try:
        death.arm()
        act()
        death._left = 0
        death.before("after", "everything")
    except BaseException as error:  # noqa: BLE001 - it is the parent that must hear of it
        death._saying = True
        said.write_text(f"error {error!r}")
    finally:
        os._exit(1)
