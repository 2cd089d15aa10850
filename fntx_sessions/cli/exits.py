"""Exit codes, and how anything that goes wrong becomes one sentence and one of them."""

from enum import IntEnum

from fntx_sessions.exceptions import FntxError, OutcomeUnknown


class Exit(IntEnum):
    """What a command's exit code says; docs/operations.md has the table."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    REFUSED = 3
    NOT_FOUND = 4
    UNAVAILABLE = 5
    UNHEALTHY = 6
    WAITING = 7
    INTERRUPTED = 130


# Of several ids, the worst counts: what nobody foresaw, then what is not known, then what was refused.
_BY_WEIGHT = (
    Exit.DONE, Exit.UNHEALTHY, Exit.WAITING, Exit.REFUSED, Exit.USAGE, Exit.NOT_FOUND, Exit.UNAVAILABLE,
    Exit.INTERRUPTED, Exit.UNEXPECTED,
)  # fmt: skip


def code_of(error: FntxError) -> Exit:
    """Return the exit code of an error."""
    return Exit(error.exit_code)


def worst(codes: list[Exit]) -> Exit:
    """Return the code that stands for several; DONE for none."""
    return max(codes, key=_BY_WEIGHT.index, default=Exit.DONE)


def sentence(error: FntxError) -> str:
    """Return the error as one line, with the option's name where it says what to ask again with."""
    told = " ".join(str(error).split())
    return told.replace("the same command id", "--command-id") if isinstance(error, OutcomeUnknown) else told
