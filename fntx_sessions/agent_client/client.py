"""`AgentClient`: one agent of another service in one session."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import orjson
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.retry import Retry

from fntx_sessions.agent_client.aio import AsyncAgent
from fntx_sessions.agent_client.asking import DeskQuestions
from fntx_sessions.agent_client.inbox import BEGINNING, Inbox, order
from fntx_sessions.agent_client.joined import AgentEvent, Joined
from fntx_sessions.agent_client.known import Credentials, Known
from fntx_sessions.agent_client.reporting import Reporter
from fntx_sessions.agent_client.running import Loop
from fntx_sessions.agent_client.telling import Part, Record, parts_of, records_of
from fntx_sessions.agent_client.unsent import Batch, Unsent
from fntx_sessions.caller import address
from fntx_sessions.caller.ids import as_id
from fntx_sessions.caller.stored import Answer
from fntx_sessions.exceptions import FntxError, InvalidArgument, NotJoined, StaleEpoch
from fntx_sessions.monitoring.tracing import start_tracing
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.state.parts import agent_part
from fntx_sessions.state.redis_client import build_redis, redis_errors

# Not structlog: the service that holds an agent need not have set it up.
log = logging.getLogger(__name__)
Told = Iterable[Any]


class AgentClient:
    """An agent in another service: joins a session, reads its events, beats its heart and reports.

    Blocking, with every wait bounded, and safe to use from several threads; from an event loop, await the same methods
    of `aio`. Make it after a fork, not before. Every method that asks Redis raises Unavailable when it is away.
    """

    def __init__(
        self, session_id: UUID | str, agent: str, *, token: str | None = None, redis_url: str | None = None,
        settings: Settings | None = None,
    ) -> None:  # fmt: skip
        """Take the session, a name of its roster, and a token of role `agent` (None: FNTX_TOKEN, or this machine's).

        Raises InvalidArgument for a name no agent can have, and Unavailable where no Redis is configured.
        """
        self.session_id = as_id(session_id)
        self.agent = agent
        agent_part(agent)
        self._settings = settings or get_settings()
        start_tracing(self._settings)
        url = redis_url or address.redis_url(self._settings)
        self._redis = build_redis(url, self._settings)
        # One more try for a connection that died unused; whatever else fails is told at once.
        self._redis.set_retry(Retry(NoBackoff(), 1, supported_errors=(ConnectionLost,)))
        self._questions = DeskQuestions(self._redis, self._settings, url, token)
        self._known = Credentials(
            self._redis, self.session_id, agent, self._hand_out, self._settings.credential_refresh_s
        )
        self._lock = threading.Lock()  # what is known of the session
        self._sending = threading.Lock()  # one report after the other, so that no older part goes last
        self._joined: Joined | None = None
        self._epoch = 0
        self._position = ""
        self._forgiven = ""  # the position whose loss joining told already
        self._closed = threading.Event()
        self._reporter: Reporter | None = None
        self._told_at = 0.0
        self._unsent = Unsent(
            str(self.session_id), agent, self._settings.agent_records_max, self._settings.agent_unsent_max_bytes
        )

    @property
    def joined(self) -> Joined | None:
        """How the session was when this agent joined it; None before, and after it left."""
        return self._joined

    @property
    def epoch(self) -> int:
        """The epoch that reports are made under: joining told it, or an event did."""
        return self._epoch

    @property
    def position(self) -> str:
        """The event that was acknowledged last."""
        return self._position

    @property
    def unsent(self) -> int:
        """How many parts and records have not reached Redis yet; they go with the next report or heartbeat."""
        return len(self._unsent)

    @property
    def beat_due_in_s(self) -> float:
        """Seconds until a heartbeat is due; a report is one too."""
        return self._joined_now().heartbeat_s - (time.monotonic() - self._told_at)

    @cached_property
    def aio(self) -> AsyncAgent:
        """The same methods for an event loop, which they do not block."""
        return AsyncAgent(self)

    def join(self, *, ready: bool = True) -> Joined:
        """Join the session, or join it again, and return how it is; the process that was this agent may speak no more.

        ready False: a start waits for this agent until it says `ready`. Raises Forbidden (no role for it, out of scope,
        or another token's agent), Unauthenticated, NotFound (the roster does not name it), InvalidArgument (the desk
        hosts it), SessionClosed, OutcomeUnknown.
        """
        # Chosen here, so that a joining that is sent again stays one.
        ticket = secrets.token_hex(24)
        answer = self.ask(
            "fntx.agents.join", agent=self.agent, ready=ready, ticket=ticket, sealing_key=self._known.sealing_key
        )
        joined = Joined.of(answer | {"ticket": ticket})
        if joined.internal_state is None:
            joined = replace(joined, internal_state=self._large_memory(joined))
        with self._lock:
            self._joined, self._epoch = joined, joined.epoch
            # What this process acknowledged and could not tell yet is dealt with all the same.
            self._position = max(self._position or BEGINNING, joined.position, key=order)
            self._forgiven = self._position if joined.missed else ""
            self._reporter = Reporter(self._redis, joined)
            self._told_at = time.monotonic()
        # Parts from before are of an epoch or a memory that may be over.
        self._unsent.drop_parts()
        return joined

    def ready(self) -> None:
        """Say that the agent can begin to trade; a start that waits for it goes on."""
        self.ask("fntx.agents.ready", agent=self.agent)

    def leave(self) -> None:
        """Send what is unsent, then leave: the agent is not ready any more, and has to join to come back."""
        self._flush_quietly()
        self.ask("fntx.agents.leave", agent=self.agent)
        with self._lock:
            self._joined = self._reporter = None

    def ask(self, task: str, /, *, command_id: UUID | None = None, **arguments: Any) -> Answer:
        """Ask the desk for anything else that an agent may, about this session: `fntx.approvals.request`, ...

        Sent again under the same id until it is answered or `command_deadline_s` has passed. Returns the answer; raises
        what it was refused with, OutcomeUnknown and Unavailable.
        """
        return self._questions.ask(task, {"session_id": self.session_id, **arguments}, command_id)

    def credentials(self, *, fresh: bool = False) -> Known:
        """Return what this agent may know, by name, as of at most `credential_refresh_s` ago; `fresh`: as of now.

        Values are told by `get_secret_value()`; keep them nowhere: a report that holds one is refused. Raises
        NotJoined, Forbidden, IntegrityError (another process joined as this agent, or somebody changed it),
        OutcomeUnknown.
        """
        self._joined_now()
        return self._known.get(fresh=fresh)

    def events(self, block_s: float = 0.0, *, limit: int = 100) -> list[AgentEvent]:
        """Return the oldest events after the one acknowledged last, in order; waits up to `block_s` for one.

        What is not acknowledged comes again: at least once. An event's epoch is adopted, and later reports are made
        under it. Raises NotJoined, and FellBehind where events were let go of before they were acknowledged.
        """
        inbox, position = self._inbox(self._joined_now()), self._position
        found = inbox.after(position, block_s, limit, lossy=position == self._forgiven)
        with self._lock:
            self._epoch = max([self._epoch, *(event.epoch or 0 for event in found)])
        return found

    def ack(self, event: AgentEvent | str) -> None:
        """Note that events up to this one are dealt with; the desk learns it with the next report or heartbeat."""
        position = event if isinstance(event, str) else event.id
        with self._lock:
            if not self._position or order(position) > order(self._position):
                self._position = position

    def heartbeat(self) -> int:
        """Beat the heart, tell what is acknowledged, send what is unsent; return the revision. Raises as `report`."""
        return self._flush()

    def report(
        self, state: Part | None = None, market: Part | None = None, trading: Part | None = None,
        trades: Told = (), decisions: Told = (), errors: Told = (),
    ) -> int:  # fmt: skip
        """Tell what changed and return the revision then; it is a heartbeat too.

        Models, mappings of their fields, or JSON bytes: AgentState, MarketState, TradingState; TradeTold, DecisionTold,
        ErrorTold. Raises InvalidArgument for what is wrong in it, before anything is sent, and NotJoined; StaleEpoch
        (read the events, or join again), Superseded (another process is this agent now), TooMuch and Unavailable. After
        TooMuch and Unavailable it is kept, the newest of each part and every record, and goes with the next report.
        """
        joined = self._joined_now()
        limits = joined.limits
        parts = parts_of(self.agent, limits.part_bytes, state, market, trading)
        records: list[Record] = []
        for kind, told in (("trade", trades), ("decision", decisions), ("error", errors)):
            records += records_of(kind, told, limits.record_bytes)
        self._known.refuse_told(*parts.values(), *(record.data for record in records))
        self._unsent.put(parts, records)
        return self._flush()

    def run(
        self, on_event: Callable[[AgentEvent], object], *, on_joined: Callable[[Joined], object] | None = None,
        on_tick: Callable[[], object] | None = None, tick_s: float = 1.0, stop: threading.Event | None = None,
    ) -> None:  # fmt: skip
        """Take part until the session is closed or `stop` is set: join, handle events, work every `tick_s`, beat.

        on_joined: called with the present state after each joining, before the events that follow. An event is
        acknowledged once its handler returned; what a handler raises ends the run, but for what joining again or a
        pause mends. Raises Superseded, and whatever else needs a person.
        """
        Loop(self, on_event, on_joined, on_tick, tick_s, stop).run()

    def close(self) -> None:
        """Send what is unsent, if it can be, and close the connections; the agent stays in the session's roster."""
        self._flush_quietly()
        self._known.forget()
        self._closed.set()
        self._redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hand_out(self) -> Answer:
        return self.ask("fntx.agents.credentials", agent=self.agent)

    def _flush(self) -> int:
        with self._sending:
            while True:
                batch = self._unsent.batch()
                revision = self._send(batch)
                if not self._unsent.done(batch):
                    return revision

    def _send(self, batch: Batch) -> int:
        with self._lock:
            reporter, epoch, position = self._reporter, self._epoch, self._position
        if reporter is None:
            raise self._not_joined()
        try:
            accepted = reporter.send(epoch, position, batch)
        except StaleEpoch:
            self._unsent.drop_parts()
            raise
        except InvalidArgument:
            self._unsent.done(batch)  # it would be refused for ever, and all after it
            raise
        self._told_at = time.monotonic()
        return accepted.revision

    def _flush_quietly(self) -> None:
        if self._reporter is None:
            return
        try:
            self._flush()
        except FntxError as error:
            level = logging.WARNING if self.unsent else logging.DEBUG
            log.log(level, "%d of %s not sent: %s", self.unsent, self.agent, error)

    def _joined_now(self) -> Joined:
        joined = self._joined
        if joined is None:
            raise self._not_joined()
        return joined

    def _not_joined(self) -> NotJoined:
        return NotJoined(str(self.session_id), self.agent, "this client has not joined it, or has left")

    def _large_memory(self, joined: Joined) -> dict[str, Any] | None:
        """Return the internal state that was too large for the desk's answer; None where there is none."""
        with redis_errors():
            part = self._redis.hget(joined.keys["live"], f"part:{agent_part(self.agent)}")
        try:
            state = orjson.loads(part).get("internal_state") if isinstance(part, bytes) else None
        except (orjson.JSONDecodeError, AttributeError):
            return None  # health tells what cannot be read
        return state if isinstance(state, dict) else None

    def _inbox(self, joined: Joined) -> Inbox:
        # Well within what the connection waits for any answer.
        wait_s = self._settings.redis_socket_timeout_s / 2
        return Inbox(self._redis, joined.keys["inbox"], (str(self.session_id), self.agent), wait_s, self._closed)
