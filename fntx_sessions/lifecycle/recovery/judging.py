"""Whether a candidate may be put back: read whole, proven, of this session and a known epoch, under its identity."""

from dataclasses import dataclass
from typing import Any

from fntx_sessions.exceptions import (
    FntxError,
    IntegrityError,
    InvalidArgument,
    NotFound,
    PreconditionFailed,
    Retryable,
    Shredded,
)
from fntx_sessions.lifecycle.recovery.candidates import Candidate
from fntx_sessions.lifecycle.recovery.facts import Facts, Stores
from fntx_sessions.state.changes import snapshot_of
from fntx_sessions.state.identity import check_identity
from fntx_sessions.state.live import LiveCut
from fntx_sessions.state.parts import AGENT_PREFIX, checked, is_memory
from fntx_sessions.state.snapshot import Packer, Snapshot
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.postgres import PostgresTier

DAMAGED, IDENTITY, UNREACHABLE = "damaged", "identity", "out of reach"
FOREIGN, MISSING = "another session's", "missing"
_OURS = frozenset({"Postgres", "Redis"})


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate and what was found. snapshot None: not usable, `problem` says why and `kind` of which kind that is.

    Only what is out of reach may be usable later. seen: what was read, usable or not.
    """

    candidate: Candidate
    snapshot: Snapshot | None = None
    tier: str = ""
    problem: str | None = None
    kind: str = ""
    error: FntxError | None = None
    seen: Snapshot | None = None


def judge(stores: Stores, facts: Facts, candidate: Candidate, accept: str | None) -> Judged:
    """Read and check one candidate. accept: an identity that may differ.

    One that was found damaged before is not read again, unless somebody named it. Raises Shredded, and Unavailable when
    Postgres or Redis, without which nothing is put back, is out of reach.
    """
    if candidate.damage is not None:
        return Judged(candidate, problem=f"known to be damaged: {candidate.damage}", kind=DAMAGED)
    seen: Snapshot | None = None
    try:
        snapshot, tier = candidate.read()
        seen = snapshot
        _check(stores, facts, candidate, snapshot)
        check_identity(stores.engine, facts.session_id, snapshot.identity, accept)
    except Shredded:
        raise
    except FntxError as error:
        kind = _kind(error)
        if kind == UNREACHABLE and error.named().get("what") in _OURS:
            raise
        return Judged(candidate, problem=_problem(error), kind=kind, error=error, seen=seen)
    return Judged(candidate, snapshot, tier, seen=seen)


def _kind(error: FntxError) -> str:
    if isinstance(error, Retryable):
        return UNREACHABLE
    kinds: dict[type[FntxError], str] = {InvalidArgument: FOREIGN, PreconditionFailed: IDENTITY, NotFound: MISSING}
    return kinds.get(type(error), DAMAGED)


def _problem(error: FntxError) -> str:
    """Return what is wrong in words; of an identity only what differs, not what a command would be refused with."""
    changed = isinstance(error, PreconditionFailed)
    return str(error.named()["detail"]).removeprefix("the checkpoint was ") if changed else str(error)


def _check(stores: Stores, facts: Facts, candidate: Candidate, snapshot: Snapshot) -> None:
    if snapshot.session_id != facts.session_id:
        what = f"{candidate.checkpoint_id or candidate.name} is of another session"
        raise InvalidArgument("checkpoint_id", what, "See `fntx checkpoints ID`.")
    if snapshot.epoch > facts.epoch:
        raise _wrong(candidate, f"it is of epoch {snapshot.epoch}, the session never was beyond {facts.epoch}")
    if snapshot.checkpoint_id is None and (snapshot.epoch, snapshot.revision) != candidate.mark:
        raise _wrong(candidate, "it is not as new as it was said to be")
    for name, data in snapshot.parts.items():
        try:
            checked(name, data, stores.settings.max_part_bytes)
        except InvalidArgument as error:
            raise _wrong(candidate, str(error)) from None


def _wrong(candidate: Candidate, detail: str) -> IntegrityError:
    return IntegrityError(candidate.name, detail)


def whole(stores: Stores, facts: Facts, before: tuple[int, int] | None, cut: LiveCut | None) -> Snapshot:
    """Return the live state as a snapshot; raises IntegrityError when Redis lost it, or part of it.

    before: its mark before the recovery raised the fence; None: there was nothing.
    """
    if cut is None or before is None or not any(map(is_memory, cut.parts)):
        raise IntegrityError("the live state", "Redis holds no agent's memory")
    base = facts.base
    if before[0] < base[0] or before[1] < base[1]:
        detail = f"it is at epoch {before[0]} revision {before[1]}, behind epoch {base[0]} revision {base[1]}"
        raise IntegrityError("the live state", f"{detail} that was there: Redis lost the newer one")
    lost = sorted(_remembered(stores, facts) - cut.parts.keys())
    if lost:
        names = ", ".join(name.removeprefix(AGENT_PREFIX) for name in lost)
        raise IntegrityError("the live state", f"Redis lost the memory of {names}")
    return snapshot_of(cut)


def _remembered(stores: Stores, facts: Facts) -> set[str]:
    """Return the parts of agents' memory that there were when it was last known whole."""
    if facts.put_back > facts.saved:
        return set(facts.recovery_data["put_back"].get("agents") or ())
    try:
        head = PostgresTier(stores.engine).head(Ref(facts.session_id))
        parts: Any = Packer.of(stores.settings, stores.engine).manifest(head).parts if head else ()
    except (IntegrityError, InvalidArgument):
        parts = [AGENT_PREFIX + name for name in facts.hosted]
    return set(filter(is_memory, parts))
