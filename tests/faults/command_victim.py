"""Commands in processes of their own, killed on the way by a failpoint.

Started by test_command_kills: it imports what takes long once, then forks a victim for each line of
"place what session_id command_id" and answers how that one ended, as waitpid tells it.
"""

import os
import sys
from uuid import UUID

from lifecycle_harness import ANN, T, World, ask

from fntx_sessions.lifecycle import outbox
from fntx_sessions.lifecycle.change import Ask, Outcome
from fntx_sessions.lifecycle.recovery.run import recover
from fntx_sessions.state.redis_client import build_redis
from fntx_sessions.testing import failpoints_armed


def victims_ask(trigger: T, session_id: UUID, command_id: UUID) -> Ask:
    """Return the command that both the victim and whoever asks again mean."""
    return ask(trigger, session_id, actor=ANN, reason="will be killed", command_id=command_id)


def act(world: World, redis_url: str, what: str, session_id: UUID, command_id: UUID) -> Outcome | None:
    """Do what the victim does: create, relay, recover, or any command by its name."""
    if what == "create":
        return world.create_outcome(session_id, command_id)
    with build_redis(redis_url, world.settings) as client:
        if what == "relay":
            outbox.relay_due(world.engine, client, world.settings)
            return None
        asked = victims_ask(T(what), session_id, command_id)
        if what == T.RECOVER:
            asked = Ask(T.RECOVER, session_id, ANN, "will be killed", command_id)
            return recover(world.engine, client, world.settings, asked)
    return world.run(asked)


def victim(url: str, redis_url: str, line: str) -> None:
    """Be the process that is killed."""
    place, what, session_id, command_id = line.split()
    with failpoints_armed(f"{place}:kill"):
        act(World.over(url), redis_url, what, UUID(session_id), UUID(command_id))


def main(url: str, redis_url: str) -> None:
    """Fork a victim a line; this process has opened no connection that a child could inherit."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            victim(url, redis_url, line)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main(*sys.argv[1:])
