"""Moves, archives, drops and restores in processes of their own, killed on the way by a failpoint.

Started by test_mover_kills: it imports what takes long once, then forks a victim for each line of
"place nth what session_id" and answers how that one ended, as waitpid tells it.
"""

import os
import sys
from pathlib import Path
from uuid import UUID

from archiving import Desk, make_desk

from fntx_sessions import testing
from fntx_sessions.settings import Settings
from fntx_sessions.state.archive import archive_due
from fntx_sessions.state.archive_restore import restore_session
from fntx_sessions.state.retention import move_due


def act(desk: Desk, what: str, session_id: UUID) -> None:
    """Do what the victim does: move, archive (which drops, too) or restore."""
    if what == "move":
        move_due(*desk.stores, desk.cold)
    elif what == "restore":
        restore_session(desk.engine, desk.settings, desk.cold, session_id, "victim")
    else:
        archive_due(desk.engine, desk.settings, desk.cold)


class Nth(testing.Failpoint):
    """A failpoint that lets the first ones pass."""

    passed = 0
    nth = 1

    def strike(self) -> None:
        """Strike the nth time."""
        type(self).passed += 1
        if type(self).passed == type(self).nth:
            super().strike()


def victim(settings: Settings, line: str) -> None:
    """Be the process that is killed."""
    place, nth, what, session_id = line.split()
    Nth.nth = int(nth)
    testing._overrides.append({place: Nth(place, "kill")})
    with make_desk(settings) as desk:
        act(desk, what, UUID(session_id))


def main(home: str, url: str, redis_url: str) -> None:
    """Fork a victim a line; this process has opened no connection that a child could inherit."""
    settings = Settings(home=Path(home), database_url=url, redis_url=redis_url, auth_mode="open")
    answers = os.dup(1)
    os.dup2(2, 1)  # what is logged is no answer
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            victim(settings, line)
            os._exit(0)
        os.write(answers, f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
