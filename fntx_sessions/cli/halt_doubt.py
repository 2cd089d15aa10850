"""What `fntx halt` says where Postgres, or who was to answer, gives no answer: what can be acted on."""

import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from functools import partial
from threading import Thread
from typing import TypeVar

from sqlalchemy import text

from fntx_sessions.exceptions import FntxError, OutcomeUnknown, Retryable, Unavailable
from fntx_sessions.settings import Settings

T = TypeVar("T")
POSTGRES = "Postgres"
SILENT = "it gives no answer"
_AGAIN_S = 0.5
_LIVES = text("""
SELECT EXISTS (SELECT FROM hosts WHERE 'commands' = ANY(string_to_array(queues, ',')) AND lease_until > now())
""")
_STILL = "Until Postgres answers this desk sends no order: nothing is opened, and no exit runs."
_BROKER = "To close positions now, call the broker."


def workers_live(settings: Settings) -> bool:
    """Tell whether a worker that takes commands lives.

    Raises Unavailable where Postgres, asked again and again, has given no answer for `halt_database_s`.
    """
    until = time.monotonic() + settings.halt_database_s
    while True:
        try:
            return _within(until - time.monotonic(), partial(_look, settings))
        except Unavailable:
            if time.monotonic() + _AGAIN_S >= until:
                raise
            time.sleep(_AGAIN_S)


def _look(settings: Settings) -> bool:
    from fntx_sessions.database.engine import build_engine, transaction  # noqa: PLC0415 -- slow to import

    assert settings.database_url is not None  # noqa: S101 -- asked only where there is one
    engine = build_engine(settings.database_url.get_secret_value(), settings, application="fntx halt")
    try:
        with transaction(engine) as connection:
            return bool(connection.execute(_LIVES).scalar_one())
    except Unavailable:
        raise
    except FntxError:
        return True  # it answers, and whoever asks it next says what is wrong
    finally:
        engine.dispose()


def watched(settings: Settings, act: Callable[[], T]) -> T:
    """Return what `act` returns, as long as it takes; raises Unavailable once Postgres gives no answer meanwhile.

    A server that hangs answers no statement, and no limit of its own ends one.
    """
    doing = _begun(act)
    while not wait([doing], timeout=settings.halt_database_s).done:
        workers_live(settings)
    return doing.result()


def _within(seconds: float, act: Callable[[], T]) -> T:
    doing = _begun(act)
    if not wait([doing], timeout=max(0.0, seconds)).done:
        raise Unavailable(POSTGRES, SILENT, "See `fntx doctor`.")
    return doing.result()


def _begun(act: Callable[[], T]) -> Future[T]:
    """Begin in a thread that does not keep this process from ending."""
    doing, context = Future[T](), copy_context()

    def do() -> None:
        try:
            doing.set_result(context.run(act))
        except BaseException as error:  # noqa: BLE001 -- it is raised where it is waited for
            doing.set_exception(error)

    Thread(target=do, daemon=True).start()
    return doing


def not_halted(error: Unavailable, again: str) -> Retryable:
    """Return what to say where nobody was reached, and nothing sent that could happen later."""
    still, fix = (_STILL, "") if error.args[0] == POSTGRES else ("", f" {error.args[2]}")
    return Retryable(
        _joined(
            f"NOT halted: {_problem(error)}.",
            f"Nothing was sent, and nothing happens later by itself; positions and orders are as they were.{fix}",
            still, _BROKER, f"Ask again once it answers: {again}",
        )
    )  # fmt: skip


def in_doubt(error: Unavailable | OutcomeUnknown, scope: str, again: str, *, placed: bool) -> Retryable:
    """Return what to say where the answer to what was sent is not known. placed: but that the halt stands is."""
    postgres = isinstance(error, Unavailable) and error.args[0] == POSTGRES
    halted = f"{scope} IS halted, but how far it was paused or closed is not known"
    unknown = f"it is not known whether {scope} is halted: it may be, or may yet come about"
    return Retryable(
        _joined(
            f"{halted if placed else unknown}: {_problem(error)}.",
            "Positions may be closed in part; none was closed twice.",
            _STILL if postgres else "", _BROKER, f"Ask again, it is one halt however often: {again}",
        )
    )  # fmt: skip


def _problem(error: Unavailable | OutcomeUnknown) -> str:
    if isinstance(error, OutcomeUnknown):
        return f"no worker answered within {error.args[2]} s"
    return f"{error.args[0]} is out of reach ({str(error.args[1]).rstrip('.')})"


def _joined(*sentences: str) -> str:
    return " ".join(filter(None, sentences))
