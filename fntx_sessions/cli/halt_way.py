"""How `fntx halt` reaches the desk: through a worker where one answers, else straight on Postgres and the broker port.

It has to work when nothing else does. Both ways do the same, in the name and with the roles of the same token, and
under the same id, so that a worker that comes to the message late finds it done.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic_core import to_jsonable_python

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import line
from fntx_sessions.cli.halt_doubt import SILENT, watched, workers_live
from fntx_sessions.exceptions import OutcomeUnknown, Unauthenticated, Unavailable
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.stack.addresses import adopt_last_known, adopt_local_stack

if TYPE_CHECKING:
    from fntx_sessions.lifecycle.execute import Desk
    from fntx_sessions.security.actor import Actor

_NOWHERE = "unix:///nonexistent/fntx/redis.sock"
_BY_WORKERS = (
    "A halt is ended by a worker alone: it stands, nothing in it opens a position, exits go on. Bring the workers back "
    "(`fntx doctor`), then ask again."
)
_FIX = "Run it where FNTX_DATABASE_URL is set, or on the machine of the stack: it needs nothing but Postgres there."


@dataclass
class Way:
    """How the desk is reached.

    silent: why no worker is asked, None where one is. redis: whether Redis answers. begun: something was asked that may
    have been done, or may yet be, whatever was answered. gone: Postgres gave no answer. asker: who
    works straight, once that is known.
    """

    settings: Settings
    silent: str | None
    redis: bool
    begun: bool = False
    gone: bool = False
    asker: "Actor | None" = None

    def ask(self, task: str, arguments: dict[str, Any], command_id: UUID, act: "Act") -> Any:
        """Return what `task` answers, or, where nobody does, what `act` returns here; raises as either does."""
        if self.silent is None:
            try:
                return line().ask(task, arguments, command_id, self.settings.halt_patience_s)
            except OutcomeUnknown as error:
                self.begun = True
                self._give_up(error, f"no worker answered within {error.args[2]:g} s")
            except Unavailable as error:
                self._give_up(error, str(error))
        return to_jsonable_python(self.at_desk(act))

    def query(self, task: str, arguments: dict[str, Any], act: "Act") -> Any:
        """Return what the question `task` is answered with, or what `act` returns here; raises as either does."""
        if self.silent is None:
            try:
                return line().query(task, **arguments)
            except Unavailable as error:
                self._give_up(error, str(error))
        return to_jsonable_python(self.at_desk(act))

    def _give_up(self, error: Unavailable | OutcomeUnknown, problem: str) -> None:
        """Ask no worker any more; raises the error again where nothing can be done from here."""
        self.silent = problem
        if self.settings.database_url is None:
            if isinstance(error, OutcomeUnknown):
                raise error
            return
        say_straight(problem)

    def at_desk(self, act: "Act") -> Any:
        """Return what `act` returns here; raises as it does, and Unavailable once Postgres gives no answer."""
        with self.straight() as desk:
            self.begun = True
            try:
                return watched(self.settings, lambda: act(desk, self._known(desk)))
            except Unavailable as error:
                self.gone = error.args[1] == SILENT or not self._answers()
                raise

    def _known(self, desk: "Desk") -> "Actor":
        self.asker = self.asker or _asker(desk)
        return self.asker

    def _answers(self) -> bool:
        try:
            workers_live(self.settings)
        except Unavailable:
            return False
        return True

    @contextmanager
    def straight(self) -> "Iterator[Desk]":
        """Yield the desk as this process reaches it; raises Unavailable."""
        from fntx_sessions.database.engine import build_engine  # noqa: PLC0415 -- slow to import
        from fntx_sessions.lifecycle.execute import Desk  # noqa: PLC0415
        from fntx_sessions.state.redis_client import build_redis  # noqa: PLC0415

        settings = self.settings
        if settings.database_url is None:
            raise Unavailable("the desk", (self.silent or "no worker answers").rstrip("."), _FIX)
        address = settings.redis_url.get_secret_value() if self.redis and settings.redis_url else _NOWHERE
        engine, client = build_engine(settings.database_url.get_secret_value(), settings, application="fntx halt"), None
        try:
            client = build_redis(address, settings)
            with _quiet():
                yield Desk(engine, client, settings)
        finally:
            engine.dispose()
            if client is not None:
                client.close()


def _asker(desk: "Desk") -> "Actor":
    """Return whom the token here speaks for, where the desk's workers would take it; else this machine's user.

    Who has its database may halt it, whatever became of their token. Nobody else's name is put on it then.
    """
    from fntx_sessions.security.desk_auth import straight_actor  # noqa: PLC0415 -- slow to import
    from fntx_sessions.security.machine_user import machine_user  # noqa: PLC0415
    from fntx_sessions.security.roles import OPERATOR  # noqa: PLC0415

    try:
        return straight_actor(desk.engine, desk.settings)
    except Unauthenticated as error:
        user = machine_user()
        output.note(f"{error.args[0]}: this is done as {user.name}, who has the database")
        return replace(user, roles=frozenset({OPERATOR}))


Act = Callable[["Desk", "Actor"], Any]


def find_way() -> Way:
    """Look, for a bounded time, who answers; say so where it is nobody. Raises Unavailable where Postgres does not."""
    way = _looked()
    if way.silent is not None and way.settings.database_url is not None:
        say_straight(way.silent)
    return way


def _looked() -> Way:
    if not adopt_local_stack():
        adopt_last_known()
    get_settings.cache_clear()  # what the stack told us is in the environment now
    settings = get_settings()
    redis, workers = _redis_problem(settings), _workers_problem(settings)
    return Way(settings, redis or workers, redis is None)


def ask_worker(task: str, arguments: dict[str, Any], command_id: UUID) -> Any:
    """Return what a worker answers, and nobody else; raises as it does, and Unavailable where none can be asked.

    For what may wait: it is for a worker to say whether that takes two people.
    """
    way = _looked()
    if way.silent is not None:
        raise Unavailable("a worker", way.silent.rstrip("."), _BY_WORKERS)
    return line().ask(task, arguments, command_id, way.settings.halt_patience_s)


def say_straight(problem: str) -> None:
    """Say that no worker is asked, and why."""
    output.note(f"{problem.rstrip('.')}: working straight on Postgres and the broker, from this process.")


def _redis_problem(settings: Settings) -> str | None:
    """Return why Redis is not asked, None where it answers."""
    import redis  # noqa: PLC0415

    if settings.redis_url is None:
        return "no stack runs and no Redis is configured"
    wait_s = settings.halt_look_s
    timeouts = {"socket_timeout": wait_s, "socket_connect_timeout": wait_s}
    client = redis.Redis.from_url(settings.redis_url.get_secret_value(), **timeouts, retry=None)
    try:
        client.ping()
    except (redis.RedisError, OSError) as error:
        return f"Redis does not answer ({error})"
    finally:
        client.close()
    return None


def _workers_problem(settings: Settings) -> str | None:
    """Return that no worker takes commands; None where one does, or nobody can tell from here. Raises Unavailable."""
    if settings.database_url is None or workers_live(settings):
        return None
    return "no worker that takes commands lives"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log's lines off the screen inside the block: what the desk does here is told as the command's result."""
    import structlog  # noqa: PLC0415

    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
