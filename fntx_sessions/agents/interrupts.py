"""What ends a step from outside: the sweep's soft limit, the worker's shutdown, a person at the terminal.

All of them are raised as exceptions inside whichever agent has its turn. They are told from an agent's own by where
they come from, not by their class: an agent may raise any.
"""

import signal
import sys
import types
from collections.abc import Iterator

_POOL, _COMMON = "billiard.pool", "billiard.common"  # they run no handler in a process that never loaded them
_SOFT_LIMIT = "soft_timeout_sighandler"
_DEEPEST = 20  # exceptions raised while another one was handled


def interrupt_in(error: BaseException) -> BaseException | None:
    """Return what interrupted a step that ended with `error`, None where the step itself is at fault.

    It may have been raised anew as something else. The pool's own exit is whatever comes once its handler has run.
    """
    if is_leaving():
        return error
    return next((one for one in _behind(error) if _is_soft_limit(one) or _is_a_persons(one)), None)


def is_leaving() -> bool:
    """Tell whether this process was told to end, though an agent may have swallowed the exception that said so."""
    common = sys.modules.get(_COMMON)
    return common is not None and bool(common.terminate_handler_fired())


def _behind(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, and those it was raised from or while handling."""
    found: BaseException | None = error
    for _ in range(_DEEPEST):
        if found is None:
            return
        yield found
        found = found.__cause__ or found.__context__


def _is_soft_limit(error: BaseException) -> bool:
    return _POOL in sys.modules and any(_is_handler(code) for code in _frames(error.__traceback__))


def _frames(found: types.TracebackType | None) -> Iterator[types.FrameType]:
    while found is not None:
        yield found.tb_frame
        found = found.tb_next


def _is_handler(frame: types.FrameType) -> bool:
    return frame.f_code.co_name == _SOFT_LIMIT and frame.f_globals.get("__name__") == _POOL


def _is_a_persons(error: BaseException) -> bool:
    # A pool's child ignores SIGINT: there, nobody but an agent raises it.
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
