"""What keeps a hosted agent's step from harming others in its process: its memory is bounded, its answer checked."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fntx_sessions.agents.base import State
from fntx_sessions.security.known_secrets import InUse

_STATM = Path("/proc/self/statm")
_DATA_PAGES = 5  # which figure of it: pages of data and stack, what RLIMIT_DATA counts


@contextmanager
def bounded_memory(more_bytes: int) -> Iterator[None]:
    """Let the block take `more_bytes` beyond what the process holds; what asks for more gets a MemoryError.

    Where the system does not tell what a process holds (any but Linux), nothing is bounded.
    """
    held = _data_bytes()
    if held is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = held + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (most if soft == resource.RLIM_INFINITY else min(most, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_bytes() -> int | None:
    try:
        return int(_STATM.read_bytes().split()[_DATA_PAGES]) * resource.getpagesize()
    except OSError:
        return None


def checked_answer(answer: object) -> State:
    """Return what a step returned; raises TypeError where it is not its new state."""
    if not isinstance(answer, dict):
        msg = f"its step returned {type(answer).__name__}, not its state, a dict"
        raise TypeError(msg)
    return answer


def checked_size(part: bytes, most: int) -> bytes:
    """Return an agent's part; raises ValueError where it is larger than may be kept."""
    if len(part) > most:
        msg = f"its state takes {len(part)} bytes, {most} are allowed (FNTX_MAX_PART_BYTES)"
        raise ValueError(msg)
    return part


def checked_secrets(part: bytes, use: InUse) -> bytes:
    """Return what an agent wants kept; raises ValueError where one of its credentials stands in it."""
    name = use.found_in(part)
    if name is not None:
        msg = f"it holds the credential {name}: keep what that was used for, and ask for it again in each step"
        raise ValueError(msg)
    return part
