"""What callers left of no session for a memory system of another package, handed over by the sweep."""

import redis
from sqlalchemy import Engine

from fntx_sessions.exceptions import FntxError
from fntx_sessions.memory.breaker import note_outage
from fntx_sessions.memory.other import Loose, hand_over_loose
from fntx_sessions.memory.systems import OWN, OtherMemory, memory_of
from fntx_sessions.memory.waiting import Left, claim_loose, forget_taken, put_off
from fntx_sessions.settings import Settings


def hand_over_due(engine: Engine, client: redis.Redis, settings: Settings) -> str:
    """Hand over what is due; return why some of it was not taken. Raises Unavailable without Postgres."""
    left = claim_loose(engine) if settings.memory != OWN else []
    if not left:
        return ""
    became = _handed(engine, client, settings, left)
    forget_taken(engine, became.taken)
    rest = {one.memory.memory_id for one in left} - {*became.taken}
    put_off(engine, settings, list(rest), list(became.failed))
    note_outage(client, settings, len(became.failed), well=bool(became.taken))
    return next(iter(became.failed.values()), "")


def _handed(engine: Engine, client: redis.Redis, settings: Settings, left: list[Left]) -> Loose:
    try:
        memory = memory_of(engine, client, settings)
    except FntxError as error:
        return Loose(failed={one.memory.memory_id: str(error) for one in left})
    if not isinstance(memory, OtherMemory):
        return Loose()
    return hand_over_loose(memory, left, settings.memory_sweep_s / 4)
