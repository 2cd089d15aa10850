"""How `fntx halt` reaches the desk: through a worker where one answers, else straight on Postgres and the broker port.

It has to work when nothing else does. Both ways do the same, in the name and with the roles of the same token, and
under the same id, so that a worker that comes to the message late finds it done.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic_core import to_jsonable_python

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import line
from fntx_sessions.exceptions import FntxError, OutcomeUnknown, Unavailable
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.stack.addresses import adopt_last_known, adopt_local_stack

if TYPE_CHECKING:
    from fntx_sessions.lifecycle.execute import Desk
    from fntx_sessions.security.actor import Actor

_NOWHERE = "unix:///nonexistent/fntx/redis.sock"
_FIX = "Run it where FNTX_DATABASE_URL is set, or on the machine of the stack: it needs nothing but Postgres there."


@dataclass
class Way:
    """How the desk is reached. silent: why no worker is asked, None where one is. redis: whether Redis answers."""

    settings: Settings
    silent: str | None
    redis: bool

    def ask(self, task: str, arguments: dict[str, Any], command_id: UUID, act: "Act") -> Any:
        """Return what `task` answers, or, where nobody does, what `act` returns here; raises as either does."""
        if self.silent is None:
            try:
                return line().ask(task, arguments, command_id, self.settings.halt_patience_s)
            except (Unavailable, OutcomeUnknown) as error:
                self._give_up(str(error))
        with self.straight() as (desk, actor):
            return to_jsonable_python(act(desk, actor))

    def query(self, task: str, arguments: dict[str, Any], act: "Act") -> Any:
        """Return what the question `task` is answered with, or what `act` returns here; raises as either does."""
        if self.silent is None:
            try:
                return line().query(task, **arguments)
            except Unavailable as error:
                self._give_up(str(error))
        with self.straight() as (desk, actor):
            return to_jsonable_python(act(desk, actor))

    def _give_up(self, problem: str) -> None:
        self.silent = problem
        if self.settings.database_url is not None:
            say_straight(problem)

    @contextmanager
    def straight(self) -> "Iterator[tuple[Desk, Actor]]":
        """Yield the desk as this process reaches it, and who asks, verified; raises Unavailable, Unauthenticated."""
        from fntx_sessions.database.engine import build_engine  # noqa: PLC0415 -- slow to import
        from fntx_sessions.lifecycle.execute import Desk  # noqa: PLC0415
        from fntx_sessions.security.local import current_token  # noqa: PLC0415
        from fntx_sessions.security.tokens import verify  # noqa: PLC0415
        from fntx_sessions.state.redis_client import build_redis  # noqa: PLC0415

        settings = self.settings
        if settings.database_url is None:
            raise Unavailable("the desk", (self.silent or "no worker answers").rstrip("."), _FIX)
        address = settings.redis_url.get_secret_value() if self.redis and settings.redis_url else _NOWHERE
        engine, client = build_engine(settings.database_url.get_secret_value(), settings, application="fntx halt"), None
        try:
            client = build_redis(address, settings)
            with _quiet():
                yield Desk(engine, client, settings), verify(current_token(settings), settings)
        finally:
            engine.dispose()
            if client is not None:
                client.close()


Act = Callable[["Desk", "Actor"], Any]


def find_way() -> Way:
    """Look, for a bounded time, who answers; say so where it is nobody."""
    if not adopt_local_stack():
        adopt_last_known()
    get_settings.cache_clear()  # what the stack told us is in the environment now
    settings = get_settings()
    redis = _redis_problem(settings)
    silent = redis or _workers_problem(settings)
    if silent is not None and settings.database_url is not None:
        say_straight(silent)
    return Way(settings, silent, redis is None)


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
    """Return that no worker takes commands; None where one does, or nobody can tell from here."""
    if settings.database_url is None:
        return None
    from sqlalchemy import text  # noqa: PLC0415

    from fntx_sessions.database.engine import build_engine, transaction  # noqa: PLC0415

    engine = build_engine(settings.database_url.get_secret_value(), settings, application="fntx halt")
    try:
        with transaction(engine) as connection:
            lives = connection.execute(text(_LIVES)).scalar_one()
    except FntxError:
        return None
    finally:
        engine.dispose()
    return None if lives else "no worker that takes commands lives"


_LIVES = """
SELECT EXISTS (SELECT FROM hosts WHERE 'commands' = ANY(string_to_array(queues, ',')) AND lease_until > now())
"""


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
