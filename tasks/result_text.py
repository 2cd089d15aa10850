"""What events and Flower show of a result: written by Python itself where it is small, as the answers of commands are.

Celery's own writer walks a result in Python, so that one without an end is cut in time: 80 us of each command.
Imported before the app is made.
"""

from typing import Any

from celery.app import trace
from celery.utils.saferepr import saferepr

_LEVELS = 3  # what is deeper, Celery's writer leaves out


def result_text(value: Any, most: int | None = None, **options: Any) -> str:
    """Return a result as text of some `most` characters; what it is cut by is Celery's."""
    if most is not None and _is_small(value, most):
        text = repr(value)
        if len(text) <= most:
            return text
    return saferepr(value, most, **options)


def _is_small(value: Any, most: int) -> bool:
    """Tell whether a value of JSON has few and short words on few levels; no more than `most` are looked at."""
    level = [value]
    for _ in range(_LEVELS + 1):
        most -= sum(len(one) for one in level if isinstance(one, str | dict | list))
        if most < 0:
            return False
        held = [one for one in level if isinstance(one, dict | list)]
        if not held:
            return True
        level = [item for one in held for item in (one.values() if isinstance(one, dict) else one)]
    return False


def use() -> None:
    """Have this process write results so; a second call changes nothing."""
    _trace: Any = trace
    _trace.saferepr = result_text


use()
