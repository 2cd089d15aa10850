"""Where an action is done, the host and the task, and who asked for it: for the audit."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from fntx_sessions.security.actor import Actor
from fntx_sessions.security.machine_user import machine_user


@dataclass(frozen=True, slots=True)
class Origin:
    """The host that does it, and the task it is done in; None: in none. Of a command beside the desk: as which user."""

    host: str = ""
    task: str | None = None


_NOWHERE = Origin()
_origin: ContextVar[Origin] = ContextVar("origin", default=_NOWHERE)


def origin() -> Origin:
    """Return where this context acts."""
    return _origin.get()


def set_origin(host: str, task: str | None) -> None:
    """Note where this context acts, until it is noted anew."""
    _origin.set(Origin(host, task))


@contextmanager
def beside_the_desk() -> Iterator[None]:
    """Note for the block that it acts in no task, but as this machine's user, whoever the token it has speaks for."""
    user = machine_user()
    before = _origin.set(Origin(user.host, f"beside the desk, as {user.name}"))
    try:
        yield
    finally:
        _origin.reset(before)


_asker: ContextVar[Actor | None] = ContextVar("asker", default=None)


def asker() -> Actor | None:
    """Return whose message this context works at; None: nobody's that was verified."""
    return _asker.get()


def set_asker(actor: Actor | None) -> None:
    """Note whose message this context works at; None: it is not verified yet."""
    _asker.set(actor)
