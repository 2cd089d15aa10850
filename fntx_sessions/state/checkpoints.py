"""Checkpoints: a verified cut of the live state, kept. Periodic, on a transition, before shutdown, or by hand."""

from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any
from uuid import UUID, uuid4

import redis
import structlog
from sqlalchemy import Engine

from fntx_sessions.exceptions import IntegrityError, InvalidArgument, NotFound, PreconditionFailed, Rejected, Retryable
from fntx_sessions.schemas import AgentState, MarketState, SessionCheckpoint, TradingState
from fntx_sessions.settings import Settings
from fntx_sessions.state import checkpoint_rows as rows
from fntx_sessions.state.claims import DueWork, Work
from fntx_sessions.state.identity import identity_of
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.loading import load_save
from fntx_sessions.state.parts import MARKET, TRADING
from fntx_sessions.state.saves import snapshot_of
from fntx_sessions.state.snapshot import Packed, Packer, Snapshot
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.memory import get_memory
from fntx_sessions.testing import failpoint

CHECKPOINTS = DueWork(
    "checkpoint",
    ", checkpoint_type = CASE WHEN w.next_checkpoint_at = n.due_at THEN 'periodic' ELSE w.checkpoint_type END",
)
DEFAULT_LIMIT = 50
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class CheckpointReport:
    """What became of each due session: the checkpoints made, and why others could not be."""

    created: list[SessionCheckpoint] = field(default_factory=list)
    failed: dict[UUID, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def claimed(self) -> int:
        """How many sessions the batch held."""
        return len(self.created) + len(self.failed)


def checkpoint_due(
    engine: Engine, client: redis.Redis, settings: Settings, limit: int | None = None
) -> CheckpointReport:
    """Checkpoint up to `limit` (None: `checkpoint_batch`) sessions that are due.

    A session that cannot be checkpointed is reported and stops no other; raises Unavailable or Busy when a store is
    out of reach: then what was not done stays due.
    """
    report, started, done = CheckpointReport(), perf_counter(), list[Work]()
    claim = CHECKPOINTS.claim_due(engine, limit or settings.checkpoint_batch, settings.lease_s)
    failpoint("checkpoint.claimed")
    try:
        for work in claim.work:
            _checkpoint_one(engine, client, settings, work, report)
            done.append(work)
    except Retryable:
        CHECKPOINTS.finish(engine, claim, done)
        CHECKPOINTS.release(engine, claim)
        raise
    CHECKPOINTS.finish(engine, claim, done)
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
) -> SessionCheckpoint:
    """Keep the session's state of this moment for good, verified, and return what was made.

    Where the live state is gone or invalid, the latest save is kept instead and `note` says so. Raises NotFound (no
    such session), PreconditionFailed (it has no state yet), IntegrityError (Postgres holds other bytes than were
    sent: the checkpoint stays unverified) and Unavailable.
    """
    identity = identity_of(engine, session_id)
    packed, said = _packed_live(engine, client, settings, session_id, identity)
    note = "; ".join(filter(None, (note, said))) or None
    rows.write_checkpoint(engine, packed, {"checkpoint_type": checkpoint_type, "identity": identity, "note": note})
    return _checkpoint(rows.verify_stored(engine, packed))


def list_checkpoints(engine: Engine, session_id: UUID, limit: int = DEFAULT_LIMIT) -> list[SessionCheckpoint]:
    """Return a session's checkpoints, newest first, without their states."""
    return [_checkpoint(row) for row in rows.list_rows(engine, session_id, limit)]


def load_checkpoint(engine: Engine, settings: Settings, checkpoint_id: UUID) -> Snapshot:
    """Return a checkpoint's content, every byte verified; raises NotFound, or IntegrityError naming what is wrong."""
    return Packer.of(settings, engine).unpack(rows.read_stored(engine, checkpoint_id)[1])


def describe_checkpoint(engine: Engine, settings: Settings, checkpoint_id: UUID) -> SessionCheckpoint:
    """Return a checkpoint with its states read and verified; raises NotFound and IntegrityError."""
    row, packed = rows.read_stored(engine, checkpoint_id)
    return _checkpoint(row, **_states(Packer.of(settings, engine).unpack(packed)))


def verify_checkpoint(engine: Engine, settings: Settings, checkpoint_id: UUID) -> str | None:
    """Read a checkpoint whole and note whether it is sound; return what is wrong with it, or None. Raises NotFound."""
    try:
        load_checkpoint(engine, settings, checkpoint_id)
    except IntegrityError as error:
        rows.mark_verified(engine, checkpoint_id, verified=False)
        return str(error)
    rows.mark_verified(engine, checkpoint_id, verified=True)
    return None


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
    except (Rejected, IntegrityError) as error:
        report.failed[work.session_id] = str(error)
        _log.error("checkpoint.failed", session_id=str(work.session_id), problem=str(error))
    else:
        report.created.append(made)


def _packed_live(
    engine: Engine, client: redis.Redis, settings: Settings, session_id: UUID, identity: str
) -> tuple[Packed, str]:
    packer, said = Packer.of(settings, engine), "live state was gone"
    cut = LiveState(client, settings).read([session_id])[0]
    held = get_memory().get(Ref(session_id))
    if cut is not None and cut.parts:
        try:
            return packer.pack(_as_checkpoint(snapshot_of(cut), identity), held.parts if held else None), ""
        except InvalidArgument as error:
            said = f"live state was invalid ({error})"
    snapshot, tier = _last_save(engine, client, settings, session_id)
    said = f"{said}: made of the save of {snapshot.created_at.isoformat()} from {tier}"
    return packer.pack(_as_checkpoint(snapshot, identity)), said


def _last_save(engine: Engine, client: redis.Redis, settings: Settings, session_id: UUID) -> tuple[Snapshot, str]:
    try:
        found = load_save(engine, client, settings, session_id)
    except NotFound:
        detail = "neither Redis nor a save holds any state of it"
        raise PreconditionFailed(str(session_id), "checkpoint", "has_state", detail, "Start it first.") from None
    return found.snapshot, found.tier


def _as_checkpoint(snapshot: Snapshot, identity: str) -> Snapshot:
    return replace(snapshot, identity=identity, checkpoint_id=uuid4())


def _checkpoint(row: dict[str, Any], **states: Any) -> SessionCheckpoint:
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
