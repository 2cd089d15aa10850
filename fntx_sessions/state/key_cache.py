"""The data keys a process remembers: bounded, those not used for longest leave first."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic
from uuid import UUID

from fntx_sessions.exceptions import Shredded
from fntx_sessions.state.data_key import DataKey

RECHECK_S = 30.0  # how long a process believes what it remembers, and so a shredded key's life in its memory
QUIET_S = 5.0
HELD_MAX = 50_000  # about 60 MB


@dataclass(frozen=True, slots=True)
class Remembered:
    """A session's key, or that it was shredded, and when Postgres said so."""

    key: DataKey | None
    shredded: Shredded | None = None
    at: float = field(default_factory=monotonic)

    def key_or_raise(self) -> DataKey:
        """Return the key; raises Shredded."""
        if self.key is None:
            raise self.shredded or Shredded("", "")
        return self.key


class KeyCache:
    """What is remembered, by session."""

    def __init__(self, most: int = HELD_MAX) -> None:
        self._most = most
        self._held: OrderedDict[UUID, Remembered] = OrderedDict()
        self._lock = threading.Lock()
        self._quiet_until = 0.0

    def believed_since(self) -> float:
        """Return since when what is remembered counts; 0 for a while after Postgres could not be asked."""
        now = monotonic()
        return 0.0 if now < self._quiet_until else now - RECHECK_S

    def leave_alone(self) -> None:
        """Believe everything for a while: Postgres is out of reach, and asking for each session would take for ever."""
        self._quiet_until = monotonic() + QUIET_S

    def get(self, session_id: UUID, since: float) -> Remembered | None:
        """Return what Postgres said since `since` (monotonic seconds); that a session is shredded holds for ever."""
        with self._lock:
            return self._believed(session_id, since)

    def get_all(self, session_ids: Sequence[UUID], since: float) -> list[Remembered | None]:
        """Return, in order, what `get` says of each."""
        with self._lock:
            return [self._believed(one, since) for one in session_ids]

    def put(self, session_id: UUID, remembered: Remembered) -> None:
        """Remember; where it is full, what was not used for longest goes."""
        with self._lock:
            self._held[session_id] = remembered
            self._held.move_to_end(session_id)
            if len(self._held) > self._most:
                self._held.popitem(last=False)

    def due(self, since: float, limit: int) -> list[UUID]:
        """Return those of the `limit` sessions used last that were not compared since `since`."""
        with self._lock:
            found = []
            for session_id in islice(reversed(self._held), limit):
                held = self._held[session_id]
                if held.at < since and held.shredded is None:
                    found.append(session_id)
            return found

    def _believed(self, session_id: UUID, since: float) -> Remembered | None:
        held = self._held.get(session_id)
        if held is None or (held.at < since and held.shredded is None):
            return None
        self._held.move_to_end(session_id)
        return held

    def forget(self, session_id: UUID) -> None:
        """Let go of a session."""
        with self._lock:
            self._held.pop(session_id, None)
