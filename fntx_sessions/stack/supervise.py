"""supervisord, run so that a log it cannot write does not end it: a full disk must not cost the processes their keeper.

`python -m fntx_sessions.stack.supervise -c FILE` is `supervisord -c FILE`. As it ships, supervisord reports what went
wrong with a log to stderr, which is on the same disk, and dies of that. Nor does it heed its own `umask` unless it is a
daemon; what it and its children write is for their user alone.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from supervisor import loggers
from supervisor.supervisord import main

_emit = loggers.RotatingFileHandler.emit


def _carry_on(_handler: Any) -> None:
    """Lose the line; there is nowhere to say so."""


def _emit_or_carry_on(handler: Any, record: Any) -> None:
    with suppress(OSError, ValueError):
        if handler.stream.closed:  # a rotation that found no room had closed it
            handler.stream = Path(handler.baseFilename).open("ab")  # noqa: SIM115 -- kept open
        _emit(handler, record)


if __name__ == "__main__":
    os.umask(0o077)
    loggers.Handler.handleError = _carry_on
    loggers.RotatingFileHandler.emit = _emit_or_carry_on
    main()
