"""The manager's own guard, stepped in this process over sessions that stop: Postgres and the broker port are enough.

Not by `agents.host`, as the guard that stands in for an agents worker is: that asks Redis before a step and reports to
it after, and leaves what it cannot step to a person in ERROR, where here somebody waits to be told. Claims, the step
itself and what it leaves behind are the same.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psutil
import structlog

from fntx_sessions.agents.claims import claim_these, finish_steps, release_claims
from fntx_sessions.agents.outcomes import step_result
from fntx_sessions.agents.runner import Slice, run_slice
from fntx_sessions.agents.runtime import Runtime, load_runtime, refresh
from fntx_sessions.automation import hosts
from fntx_sessions.automation.flattening_quotes import market_obstacle
from fntx_sessions.automation.pending import finish_session
from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import FntxError, NotFound, Retryable
from fntx_sessions.lifecycle import commands, execute, machine
from fntx_sessions.lifecycle.change import Ask
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import MarketState, Trigger
from fntx_sessions.security.actor import Actor, system_actor
from fntx_sessions.state.event_rows import StateEvent, add_events
from fntx_sessions.state.loading import load_save
from fntx_sessions.state.parts import MARKET

log = structlog.get_logger(__name__)
_NAME = "halt"


class Guard:
    """Steps sessions in this process, which holds a lease as any host does.

    given_up: session -> why. hosts: it holds its lease.
    """

    def __init__(self, desk: Desk, actor: Actor, *, live: bool) -> None:
        self.live, self.hosts = live, False
        self.given_up: dict[UUID, str] = {}
        self._desk, self._actor = desk, actor
        self.host_id = f"{_NAME}:{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}"
        self._system = system_actor(self.host_id)
        self._runtimes: dict[UUID, Runtime] = {}

    @contextmanager
    def hosting(self) -> Iterator[None]:
        """Hold a lease; sessions are given back at the end."""
        hosts.renew(self._desk.engine, self._desk.settings, self.host_id, "")
        self.hosts = True
        try:
            yield
        finally:
            self.hosts = False
            hosts.leave(self._desk.engine, self.host_id)

    def step(self, found: list[dict[str, Any]], until: float) -> int:
        """Step each once, in batches; return how many."""
        size, stepped = self._desk.settings.step_batch, 0
        for start in range(0, len(found), size):
            if time.monotonic() >= until:
                break
            hosts.renew(self._desk.engine, self._desk.settings, self.host_id, "")
            batch = found[start : start + size]
            for row in batch:
                self._take(row)
            stepped += self._step_batch([row["session_id"] for row in batch])
        return stepped

    def _take(self, row: dict[str, Any]) -> None:
        """Raise the epoch of a session that another may have in hand: whoever that is sends nothing more.

        One that somebody else's command is flattening is left to it: two would only overtake each other.
        """
        host_id: str | None = row["host_id"]
        if host_id == self.host_id or (row["host_lives"] and _is_flattening(host_id or "")):
            return
        if host_id is not None or row["step_claimed_by"] is not None:
            ask = Ask(Trigger.UPDATE, row["session_id"], self._actor, "halted: its positions are closed from elsewhere")
            execute.follow_up(self._desk, machine.run(self._desk.engine, ask, commands.rehome))
        self._tell(row)

    def _tell(self, row: dict[str, Any]) -> None:
        """Leave an event of who closes a session's positions, in whose name, and whom it was taken from."""
        owner = row["host_id"] or "nobody"
        told = f"a halt by {self._actor.name} closes its positions from {self.host_id}; until then {owner} stepped it"
        with transaction(self._desk.engine) as connection:
            add_events(connection, [StateEvent(row["session_id"], "halt_closes", self.host_id, told)])

    def _step_batch(self, ids: list[UUID]) -> int:
        claimed = claim_these(self._desk.engine, self.host_id, ids, self._desk.settings.step_claim_s)
        done = [found for row in claimed if (found := self._safely(row)) is not None]
        finish_steps(self._desk.engine, [step_result(one, unreported=True) for one in done if not one.stale])
        kept = {one.runtime.session_id for one in done if not one.stale}
        release_claims(self._desk.engine, [row["session_id"] for row in claimed if row["session_id"] not in kept])
        for one in done:
            self._close_if_flat(one)
        return len(claimed)

    def _safely(self, row: dict[str, Any]) -> Slice | None:
        """Step one session; its trouble is told of it, and stops no other."""
        try:
            return self._step_one(row)
        except Retryable:
            self._runtimes.pop(row["session_id"], None)  # tried again, from what the stores hold
        except Exception as error:  # one session's fault must not keep the others' positions open
            log.exception("flattening_failed", session_id=str(row["session_id"]))
            self.give_up(row["session_id"], f"{type(error).__name__}: {error}. Call the broker.")
        return None

    def _step_one(self, row: dict[str, Any]) -> Slice:
        runtime = self._runtime(row)
        blocked = _obstacle(runtime)
        done = run_slice(self._desk, runtime, 0.0)
        if done.stale:
            self._runtimes.pop(runtime.session_id, None)
        elif blocked and not (runtime.book.flat and runtime.book.quiet):
            self.give_up(runtime.session_id, blocked)
        return done

    def _runtime(self, row: dict[str, Any]) -> Runtime:
        session_id = row["session_id"]
        kept = self._runtimes.get(session_id)
        if kept is not None and kept.epoch == row["epoch"] and not kept.unsure:
            refresh(kept, row)
            return kept
        market = None if self.live else _saved_market(self._desk, session_id)
        instead = None if self.live else (lambda: market)
        self._runtimes[session_id] = load_runtime(self._desk, row, instead=instead)
        return self._runtimes[session_id]

    def _close_if_flat(self, done: Slice) -> None:
        book = done.runtime.book
        if not self.live or done.stale or not (book.flat and book.quiet):
            return
        if finish_session(self._desk, self._system, done.runtime.session_id) == "failed":
            self.give_up(done.runtime.session_id, "")  # the sweep tries again, and says in its log what fails

    def give_up(self, session_id: UUID, why: str) -> None:
        """Try no more for a session, and remember why."""
        self.given_up[session_id] = why[:1000]


def _is_flattening(host_id: str) -> bool:
    """Tell whether a host that holds a lease is a command like this one, not known to have died on this machine."""
    name, _, rest = host_id.partition(":")
    node, _, numbers = rest.partition(":")
    pid = numbers.partition(":")[0]
    if name != _NAME:
        return False
    return node != socket.gethostname() or not pid.isdigit() or psutil.pid_exists(int(pid))


def _obstacle(runtime: Runtime) -> str | None:
    """Return what keeps anything from being priced or traded now; None: nothing does."""
    if runtime.clock.finished:
        return "its simulated day is over, nothing trades any more"
    return market_obstacle(runtime.feed.tick(runtime.clock.now))


def _saved_market(desk: Desk, session_id: UUID) -> MarketState | None:
    """Return the market as the session's latest save has it; None where there is none that can be read."""
    try:
        part = load_save(desk.engine, desk.redis, desk.settings, session_id).snapshot.parts.get(MARKET)
        return None if part is None else MarketState.model_validate_json(part)
    except NotFound:
        return None
    except (FntxError, ValueError) as error:
        log.warning("saved_market_unreadable", session_id=str(session_id), problem=str(error))
        return None
