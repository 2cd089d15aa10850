"""Fifty clients in a few processes who all want something else of ten sessions; started by test_contention."""

import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

import orjson
from lifecycle_harness import T, World, ask

from fntx_sessions.exceptions import Busy
from fntx_sessions.lifecycle.change import Ask
from fntx_sessions.security.actor import Actor

# What is asked how often: mostly what leaves the session alive.
WEIGHTS = {
    T.START: 3, T.PAUSE: 8, T.RESUME: 8, T.SUSPEND: 2, T.RECOVER: 3, T.UPDATE: 4, T.STOP: 0.4, T.FINALIZE: 0.4,
    T.FAIL: 0.4,
}  # fmt: skip


class Client:
    """One client: its own name, its own dice, and a list of what it was told."""

    def __init__(self, world: World, name: str, sessions: list[UUID], commands: int) -> None:
        self.world, self.name, self.sessions, self.commands = world, name, sessions, commands
        self.dice = random.Random(name)  # noqa: S311 - a game, not a secret
        self.asked: list[Ask] = []
        self.told: list[dict[str, Any]] = []
        self.busy = 0
        self.seen: dict[UUID, int] = {}

    def play(self) -> None:
        for _ in range(self.commands):
            asked = self._next()
            outcome = self._answer(asked)
            self.asked.append(asked)
            self.seen[asked.session_id] = outcome.version or 0
            self.told.append({"repeated": outcome.repeated, **outcome.to_dict()})

    def _next(self) -> Ask:
        draw = self.dice.random()
        if self.asked and draw < 0.15:
            return self.dice.choice(self.asked)
        session_id = self.dice.choice(self.sessions)
        if draw < 0.3:
            return _shared(session_id, self.dice.randrange(20))
        expected = self.seen.get(session_id) if draw < 0.5 else None
        trigger = self.dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        return ask(trigger, session_id, actor=_actor(self.name), reason=self.name, expected_version=expected)

    def _answer(self, asked: Ask):
        while True:
            try:
                return self.world.run(asked)
            except Busy as error:
                self.busy += 1
                if "Deadlock" in type(error.__cause__.orig).__name__:
                    raise


def _actor(name: str) -> Actor:
    return Actor(name, frozenset({"operator", "risk_manager"}))


def _shared(session_id: UUID, number: int) -> Ask:
    """Return one of the commands that many clients deliver, each under the same id."""
    trigger = (T.PAUSE, T.RESUME)[number % 2]
    command_id = uuid5(NAMESPACE_OID, f"{session_id}/{number}")
    return ask(trigger, session_id, actor=_actor("everybody"), reason=f"delivery {number}", command_id=command_id)


def main(url: str, sessions: list[UUID], clients: int, commands: int) -> dict[str, Any]:
    """Play all clients of this process at once and return what they were told."""
    world = World.over(url, db_pool_size=clients)
    players = [Client(world, f"client-{uuid4().hex[:6]}", sessions, commands) for _ in range(clients)]
    together = threading.Barrier(clients)
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(lambda player: (together.wait(), player.play()), players))
    world.close()
    return {"told": [entry for player in players for entry in player.told], "busy": sum(p.busy for p in players)}


if __name__ == "__main__":
    told = main(sys.argv[1], [UUID(text) for text in sys.argv[2].split(",")], int(sys.argv[3]), int(sys.argv[4]))
    sys.stdout.buffer.write(orjson.dumps(told))
