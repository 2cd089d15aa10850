"""What agents of other services reported before a start, which is refused with what no save could take."""

from uuid import UUID

import redis

from fntx_sessions.exceptions import InvalidArgument, PreconditionFailed, Unavailable
from fntx_sessions.schemas import Trigger
from fntx_sessions.settings import Settings
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.parts import checked

_BEFORE_START = 0


def unkeepable(client: redis.Redis, settings: Settings, session_id: UUID) -> PreconditionFailed | None:
    """Return the refusal of a start, naming each part that cannot be kept; None: all can, or Redis cannot be asked.

    Of a session that has started already nothing is said: health looks at that.
    """
    try:
        [cut] = LiveState(client, settings).read([session_id])
    except Unavailable:
        return None  # nor can the agents report: what they say once it is back is judged by health
    if cut is None or cut.epoch != _BEFORE_START:
        return None
    problems = [str(problem) for name, data in sorted(cut.parts.items()) if (problem := _problem(settings, name, data))]
    if not problems:
        return None
    condition, fix = (
        "what its agents reported can be kept",
        "Let that agent report it anew: `fntx validate ID` judges it.",
    )
    return PreconditionFailed(str(session_id), Trigger.START.value, condition, "; ".join(problems)[:2000], fix)


def _problem(settings: Settings, name: str, data: bytes) -> InvalidArgument | None:
    try:
        checked(name, data, settings.max_part_bytes)
    except InvalidArgument as error:
        return error
    return None
