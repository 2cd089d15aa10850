"""A simple loop for an agent: join, handle events, work, beat; mends what joining again or waiting mends."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from fntx_sessions import traces
from fntx_sessions.agent_client.joined import AgentEvent, Joined
from fntx_sessions.exceptions import FellBehind, NotJoined, Retryable, SessionClosed, StaleEpoch
from fntx_sessions.schemas import SessionStatus

if TYPE_CHECKING:
    from fntx_sessions.agent_client.client import AgentClient

log = logging.getLogger(__name__)

# The fence moves a moment before the event that says so arrives; an agent that waits for it need not join again.
_EVENT_FOLLOWS_S = 2.0
# How soon it is seen that the run is to end.
_LOOK_S = 1.0
_PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0)


class Loop:
    """One run. Its heart beats only while handlers return: an agent that hangs is seen to hang."""

    def __init__(
        self,
        client: "AgentClient",
        on_event: Callable[[AgentEvent], object],
        on_joined: Callable[[Joined], object] | None,
        on_tick: Callable[[], object] | None,
        tick_s: float,
        stop: threading.Event | None,
    ) -> None:
        self._client = client
        self._on_event = on_event
        self._on_joined = on_joined
        self._on_tick = on_tick
        self._tick_s = tick_s
        self._stop = stop or threading.Event()
        self._next_tick = time.monotonic()
        self._must_join = client.joined is None
        self._stale: tuple[int, float] | None = None
        self._troubles = 0
        self._ended = False

    def run(self) -> None:
        """Go on until the session is closed or told to stop; work goes on where Redis is away."""
        while not self._over():
            went_well = self._round()
            self._troubles = 0 if went_well else self._troubles + 1
            if not went_well:
                self._stop.wait(_PAUSES_S[min(self._troubles, len(_PAUSES_S)) - 1])

    def _over(self) -> bool:
        return self._ended or self._stop.is_set()

    def _round(self) -> bool:
        """Join where that has to be, then listen, work and beat; returns whether nothing was refused."""
        if self._must_join and not self._try(self._join):
            return False
        went_well = True
        for step in (self._listen, self._work, self._beat):
            if not self._must_join and not self._over():
                went_well = self._try(step) and went_well
        return went_well

    def _try(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except (NotJoined, FellBehind):
            self._must_join = True
        except StaleEpoch:
            self._note_stale()
        except Retryable as error:
            log.debug("%s: %s", self._client.agent, error)
        else:
            return True
        return False

    def _join(self) -> None:
        try:
            joined = self._client.join()
        except SessionClosed:
            if self._client.joined is None:
                raise
            self._hear_the_rest()
            return
        self._must_join, self._stale = False, None
        if self._on_joined is not None:
            self._on_joined(joined)

    def _hear_the_rest(self) -> None:
        with suppress(FellBehind):  # what was let go of cannot be had by joining any more
            while self._hear(0.0):
                pass
        self._ended = True

    def _listen(self) -> None:
        self._hear(self._wait_s())
        self._check_stale()

    def _hear(self, wait_s: float) -> bool:
        events = self._client.events(wait_s)
        for event in events:
            facts = {"session_id": self._client.session_id, "agent": self._client.agent, "event": event.event}
            with traces.part_of("agent_event", "consumer", event.trace, **facts):
                self._on_event(event)
            self._client.ack(event)
            self._ended = self._ended or event.payload.get("to_status") == SessionStatus.CLOSED
        return bool(events)

    def _work(self) -> None:
        if self._on_tick is not None and time.monotonic() >= self._next_tick:
            # Before the work: what raises is not done again at once.
            self._next_tick = time.monotonic() + self._tick_s
            self._on_tick()

    def _beat(self) -> None:
        if self._client.beat_due_in_s <= 0:
            self._client.heartbeat()

    def _wait_s(self) -> float:
        """Return how long nothing is due but an event."""
        waits = [self._client.beat_due_in_s, _LOOK_S]
        if self._on_tick is not None:
            waits.append(self._next_tick - time.monotonic())
        return max(0.0, min(waits))

    def _note_stale(self) -> None:
        epoch = self._client.epoch
        if self._stale is None or self._stale[0] != epoch:
            self._stale = (epoch, time.monotonic())

    def _check_stale(self) -> None:
        """Join again where no event told of the epoch that a report was refused for."""
        if self._stale is None:
            return
        if self._stale[0] != self._client.epoch:
            self._stale = None
        elif time.monotonic() - self._stale[1] > _EVENT_FOLLOWS_S:
            self._must_join = True
