"""Checkpoints: a verified cut of the live state, kept. Periodic, on a transition, before shutdown, or by hand."""

from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any
from uuid import UUID, uuid4

import redis
import structlog
from psycopg2.errors import UniqueViolation
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError as ConstraintError

from fntx_sessions import figures
from fntx_sessions.exceptions import (
    FntxError,
    IntegrityError,
    PreconditionFailed,
    Rejected,
    Retryable,
    StaleEpoch,
)
from fntx_sessions.schemas import AgentState, MarketState, SessionCheckpoint, TradingState
from fntx_sessions.settings import Settings
from fntx_sessions.state import checkpoint_rows as rows
from fntx_sessions.state.checkpoint_record import read_record
from fntx_sessions.state.claims import Claim, DueWork, Work
from fntx_sessions.state.current import pack_current, sealed_before
from fntx_sessions.state.first_states import await_states
from fntx_sessions.state.hot_copies import HotCopies
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.loading import load
from fntx_sessions.state.parts import MARKET, TRADING
from fntx_sessions.state.proving import verify_checkpoint
from fntx_sessions.state.snapshot import Packed, Packer, Snapshot
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.memory import get_memory
from fntx_sessions.testing import failpoint

CHECKPOINTS = DueWork(
    "checkpoint",
    ", checkpoint_type = CASE WHEN w.next_checkpoint_at = n.due_at THEN 'periodic' ELSE w.checkpoint_type END",
)
DEFAULT_LIMIT = 50
_ATTEMPTS = 3
_NO_STATE = "its agents run here and have not reported any state yet. Look with `fntx health ID` why not."
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class CheckpointReport:
    """What became of each due session: the checkpoints made, why others could not be, whose first state is awaited."""

    created: list[SessionCheckpoint] = field(default_factory=list)
    failed: dict[UUID, str] = field(default_factory=dict)
    awaited: set[UUID] = field(default_factory=set)
    seconds: float = 0.0

    @property
    def claimed(self) -> int:
        """How many sessions the batch held."""
        return len(self.created) + len(self.failed) + len(self.awaited)


def checkpoint_due(
    engine: Engine, client: redis.Redis, settings: Settings, limit: int | None = None
) -> CheckpointReport:
    """Checkpoint up to `limit` (None: `checkpoint_batch`) sessions that are due.

    A session that cannot be checkpointed is reported and stops no other; one without any state yet is due again soon.
    Raises Unavailable or Busy when a store is out of reach: then what was not done stays due.
    """
    report, started, done = CheckpointReport(), perf_counter(), list[Work]()
    claim = CHECKPOINTS.claim_due(engine, limit or settings.checkpoint_batch, settings.lease_s)
    failpoint("checkpoint.claimed")
    try:
        for work in claim.work:
            _checkpoint_one(engine, client, settings, work, report)
            if work.session_id not in report.awaited:
                done.append(work)
    except Retryable:
        CHECKPOINTS.finish(engine, claim, done)
        CHECKPOINTS.release(engine, claim)
        raise
    CHECKPOINTS.finish(engine, claim, done)
    _await_others(engine, settings, claim, report)
    report.seconds = perf_counter() - started
    return report


def create_checkpoint(
    engine: Engine,
    client: redis.Redis,
    settings: Settings,
    session_id: UUID,
    checkpoint_type: str,
    *,
    note: str | None = None,
    created_by: str = "system",
    checkpoint_id: UUID | None = None,
) -> SessionCheckpoint:
    """Keep the session's state of this moment for good, verified, and return what was made.

    All agents are of one revision of the live state. Where that is gone, invalid or behind the latest save, the save
    is kept instead and `note` says so. checkpoint_id: the id to make it under; one that is there whole is returned as
    it is, so that asking twice makes one. Raises NotFound (no such session), PreconditionFailed (it has no state yet),
    IntegrityError (Postgres holds other bytes than were sent: the checkpoint stays unverified) and Unavailable.
    """
    chosen = checkpoint_id or uuid4()
    if checkpoint_id is not None and (made := _made(engine, client, settings, Ref(session_id, chosen))):
        return made
    facts = {"checkpoint_type": checkpoint_type, "note": note, "created_by": created_by}
    began = perf_counter()
    try:
        made = _make_fresh(engine, client, settings, Ref(session_id, chosen), facts)
    except PreconditionFailed:
        raise  # there is nothing of it to keep: not a checkpoint that failed
    except FntxError:
        figures.CHECKPOINTS.note(1, checkpoint_type, "failed")
        raise
    figures.CHECKPOINTS.note(1, checkpoint_type, "created")
    figures.CHECKPOINT_SECONDS.note(perf_counter() - began)
    figures.CHECKPOINT_BYTES.note(made.size_bytes)
    return made


def list_checkpoints(engine: Engine, session_id: UUID, limit: int = DEFAULT_LIMIT) -> list[SessionCheckpoint]:
    """Return a session's checkpoints, newest first, without their states."""
    return [to_checkpoint(row) for row in rows.list_rows(engine, session_id, limit)]


def load_checkpoint(engine: Engine, settings: Settings, checkpoint_id: UUID) -> Snapshot:
    """Return a checkpoint's content from where it is of record, every byte verified; raises as `read_record` does."""
    return read_record(engine, settings, checkpoint_id)[1]


def describe_checkpoint(
    engine: Engine, client: redis.Redis, settings: Settings, row: dict[str, Any]
) -> SessionCheckpoint:
    """Return the checkpoint of a row with its states, from the nearest copy that is sound; raises as `load` does."""
    found = load(engine, client, settings, Ref(row["session_id"], row["checkpoint_id"]))
    return to_checkpoint(row, read_from=found.tier, **_states(found.snapshot))


def restore_live(client: redis.Redis, settings: Settings, snapshot: Snapshot, epoch: int) -> int:
    """Put a snapshot's agents and market back under a new epoch, in one step; return the new live revision.

    Trading and metrics are never put back. The fence must have been raised to `epoch`; raises StaleEpoch otherwise.
    """
    return LiveState(client, settings).restore(snapshot.session_id, epoch, snapshot.parts)


def _checkpoint_one(
    engine: Engine, client: redis.Redis, settings: Settings, work: Work, report: CheckpointReport
) -> None:
    try:
        made = create_checkpoint(engine, client, settings, work.session_id, work.checkpoint_type)
    except PreconditionFailed:
        report.awaited.add(work.session_id)
    except (Rejected, IntegrityError) as error:
        _failed(report, work.session_id, str(error))
    else:
        report.created.append(made)


def _await_others(engine: Engine, settings: Settings, claim: Claim, report: CheckpointReport) -> None:
    """Leave the sessions without any state due; those that should have one by now count as failed."""
    types = {work.session_id: work.checkpoint_type for work in claim.work}
    for session_id in await_states(engine, settings, claim, report.awaited):
        figures.CHECKPOINTS.note(1, types[session_id], "failed")
        report.awaited.remove(session_id)
        _failed(report, session_id, _NO_STATE)


def _failed(report: CheckpointReport, session_id: UUID, problem: str) -> None:
    report.failed[session_id] = problem
    _log.error("checkpoint.failed", session_id=str(session_id), problem=problem)


def _made(engine: Engine, client: redis.Redis, settings: Settings, ref: Ref) -> SessionCheckpoint | None:
    """Return a checkpoint that an earlier attempt left whole; what it left damaged goes, to be made again."""
    row = rows.find_row(engine, ref.session_id, ref.checkpoint_id) if ref.checkpoint_id else None
    if row is None or ref.checkpoint_id is None:
        return None
    if not row["verified"] and verify_checkpoint(engine, client, settings, ref).problem is not None:
        rows.drop_unverified(engine, ref.session_id, ref.checkpoint_id)
        return None
    return to_checkpoint(row | {"verified": True})


def _make_fresh(
    engine: Engine, client: redis.Redis, settings: Settings, ref: Ref, facts: dict[str, Any]
) -> SessionCheckpoint:
    for _ in range(_ATTEMPTS - 1):
        try:
            return _make(engine, client, settings, ref, facts)
        except StaleEpoch:
            continue  # a start or a recovery came in between: the state of its epoch is the one to keep
    return _make(engine, client, settings, ref, facts)


def _make(
    engine: Engine, client: redis.Redis, settings: Settings, ref: Ref, facts: dict[str, Any]
) -> SessionCheckpoint:
    stand = rows.stand(engine, ref.session_id)

    def as_checkpoint(snapshot: Snapshot) -> Snapshot:
        return replace(snapshot, identity=stand.under.hash, checkpoint_id=ref.checkpoint_id)

    before = sealed_before(ref.session_id)
    packed, said = pack_current(engine, client, settings, ref.session_id, stand.saved, as_checkpoint, before)
    note = "; ".join(filter(None, (facts["note"], said))) or None
    made_of = {**facts, "identity": stand.under.hash, "made_under": stand.under.facts, "note": note}
    try:
        rows.write_checkpoint(engine, packed, made_of, stand.epoch)
    except ConstraintError as error:
        made = _made(engine, client, settings, Ref(ref.session_id, packed.checkpoint_id))
        if made is None or not isinstance(error.orig, UniqueViolation):
            raise
        return made  # asked twice at once: the other attempt's is the one that counts
    proven = _proven(ref.session_id)
    row = rows.verify_stored(engine, packed, Packer.of(settings, engine).unpack, proven)
    _copy(engine, client, settings, packed, packed.parts.keys() - proven)
    return to_checkpoint(row)


def _proven(session_id: UUID) -> set[bytes]:
    """Return the large parts of checkpoints that this process read back, or whole: no other is held here."""
    memory = get_memory()
    held = [memory.get(one.ref) for one in memory.held(session_id) if one.ref.checkpoint_id]
    return {digest for packed in held if packed for digest in packed.parts}


def _copy(engine: Engine, client: redis.Redis, settings: Settings, packed: Packed, fresh: set[bytes]) -> None:
    """Hold it nearer too: for who reads it soon, and for the next one, which need not seal anew what did not change."""
    memory = get_memory()
    for held in memory.held(packed.session_id):
        if held.ref.checkpoint_id:
            memory.delete(held.ref)
    memory.offer(packed)
    HotCopies(engine, client, settings, memory).write_checkpoint(packed, fresh)


def to_checkpoint(row: dict[str, Any], **states: Any) -> SessionCheckpoint:
    """Return a checkpoint's row, and states read of it, as a SessionCheckpoint."""
    facts = {name: value for name, value in row.items() if name in SessionCheckpoint.model_fields}
    return SessionCheckpoint(**{**facts, "checksum": bytes(row["checksum"]).hex()}, **states)


def _states(snapshot: Snapshot) -> dict[str, Any]:
    agents = {name: AgentState.model_validate_json(data) for name, data in snapshot.agents().items()}
    market, trading = snapshot.parts.get(MARKET), snapshot.parts.get(TRADING)
    return {
        "agent_states": agents,
        "market_state": MarketState.model_validate_json(market) if market else None,
        "trading_state": TradingState.model_validate_json(trading) if trading else None,
    }
