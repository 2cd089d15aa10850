"""Shredding: one transaction destroys a session's key, then everything else of it is erased, here and by a sweep.

Once the command is answered nothing sealed of the session can be opened: its key is nowhere any more but in the memory
of processes that used it, for `key_cache.RECHECK_S` at most, and in backups of the database until those expire.
"""

from dataclasses import replace

from redis import Redis
from sqlalchemy import Engine

from fntx_sessions.exceptions import FntxError
from fntx_sessions.lifecycle import machine
from fntx_sessions.lifecycle.change import Ask, Outcome
from fntx_sessions.lifecycle.decisions.shredding import shred as decision
from fntx_sessions.settings import Settings
from fntx_sessions.state import erasing
from fntx_sessions.testing import failpoint

_LEFT = (
    "the copy of its key in the cold store is NOT destroyed yet, and with the key ring it opens what lies there: {} "
    "It is tried again by itself; `fntx status` says until when it is not done."
)


def shred(engine: Engine, _redis: Redis, settings: Settings, ask: Ask) -> Outcome:
    """Shred a closed session and return the outcome; what is not gone when it is answered, the sweep erases.

    A warning in it says that the key's copy in the cold store could not be destroyed yet; an event and `fntx status`
    say so until it is. Raises Busy and Unavailable when nothing was written.
    """
    outcome = machine.run(engine, ask, decision)
    if outcome.state != "done":
        return outcome
    failpoint("shred.committed")
    erasing.forget(engine, settings, ask.session_id)
    try:
        # The other copy of the key goes before anybody is told that it is done, if it can be reached.
        erasing.destroy_key(engine, settings, ask.session_id)
    except FntxError as error:
        erasing.note_problems(engine, ask.session_id, {"cold key": str(error)})
        return replace(outcome, warnings=(*outcome.warnings, _LEFT.format(error)))
    return outcome
