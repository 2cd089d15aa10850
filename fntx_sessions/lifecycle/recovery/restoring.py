"""The steps that put the agents' memory back: fence, choose, verify, restore, read back; else the next one."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from fntx_sessions.exceptions import FntxError, StaleEpoch, Unavailable
from fntx_sessions.lifecycle.recovery import candidates as found
from fntx_sessions.lifecycle.recovery.candidates import Candidate
from fntx_sessions.lifecycle.recovery.facts import Facts, Stores, last_known, loss_s
from fntx_sessions.lifecycle.recovery.judging import FOREIGN, IDENTITY, MISSING, UNREACHABLE, Judged, judge, whole
from fntx_sessions.lifecycle.recovery.progress import Progress
from fntx_sessions.state.live import LiveCut, LiveState
from fntx_sessions.state.parts import is_memory, restorable
from fntx_sessions.state.snapshot import Snapshot
from fntx_sessions.testing import failpoint

NEVER = "none: never saved, agents begin anew"


@dataclass(frozen=True, slots=True)
class Restored:
    """Where the agents' memory came from. lost_s: seconds of it that are gone, None when nobody can tell.

    revision: of the live state now; 0: nothing was put back. memory: the snapshot it is, None where there is none.
    """

    source: str
    tier: str
    revision: int
    lost_s: float | None
    memory: Snapshot | None


class NothingLeft(Exception):
    """No candidate could be put back; the live state is as it was. Argument: what was tried, and why not."""


class Restoring:
    """One attempt to put one session's memory back under its own epoch."""

    def __init__(self, stores: Stores, facts: Facts, progress: Progress, epoch: int) -> None:
        self._stores, self._facts, self._progress, self._epoch = stores, facts, progress, epoch
        self._live = LiveState(stores.redis, stores.settings)
        self._cut: LiveCut | None = None
        self._mark: tuple[int, int] | None = None
        self._touched = False
        self._unreachable: FntxError | None = None

    def fence(self) -> None:
        """Raise the fence, then see what is there: nobody writes it any more. Raises StaleEpoch and Unavailable."""
        session_id = self._facts.session_id
        [mark] = self._live.marks([session_id])
        stands = self._live.raise_fence(session_id, self._epoch)
        if stands != self._epoch:
            raise StaleEpoch(str(session_id), self._epoch, stands)
        [self._cut] = self._live.read([session_id])
        self._mark = (mark.epoch, mark.revision) if mark else None
        known = last_known(self._facts, self._cut).isoformat()
        # Kept from the first attempt on: what a later one finds was left there by the first.
        self._progress.done("fence", known_at=self._progress.report.get("known_at", known))
        failpoint("recovery.fenced")

    def newest(self, accept: str | None) -> Restored:
        """Put the newest state back that holds; raises NothingLeft, Shredded and Unavailable."""
        tried = False
        for candidate in self._candidates():
            tried = True
            if candidate.key in self._progress.bad:
                continue
            judged = judge(self._stores, self._facts, candidate, accept)
            restored = self._put_back(judged)
            if restored is not None:
                return restored
            if judged.kind == UNREACHABLE:
                self._unreachable = judged.error
        self._roll_back()
        if not tried and self._facts.saved == (0, 0):
            return self._nothing_to_put_back()
        if self._unreachable is not None:
            self._progress.done()  # what was tried: should no attempt succeed, a person is told
            raise self._unreachable
        raise NothingLeft([*self._progress.report["passed_over"]])

    def named(self, checkpoint_id: UUID, accept: str | None) -> Restored:
        """Put a checkpoint back that a person named, and no other.

        Raises NotFound, InvalidArgument (another session's), PreconditionFailed (another identity), NothingLeft (it is
        damaged) and Unavailable.
        """
        candidate = found.named(self._stores, self._facts, checkpoint_id)
        judged = judge(self._stores, self._facts, candidate, accept)
        if judged.error is not None and judged.kind in (FOREIGN, MISSING, IDENTITY):
            raise judged.error
        restored = self._put_back(judged)
        if restored is not None:
            return restored
        self._roll_back()
        if judged.kind == UNREACHABLE:
            self._progress.done()
            raise judged.error or Unavailable(candidate.name, judged.problem, "It is tried again by itself.")
        raise NothingLeft([{"source": candidate.name, "problem": judged.problem}])

    def _candidates(self) -> Iterator[Candidate]:
        """Yield what could be put back, nearest first; what is far away is looked for only when nothing nearer held."""
        if self._cut is not None and any(map(is_memory, self._cut.parts)):
            yield found.live(self._cut, lambda: whole(self._stores, self._facts, self._mark, self._cut))
        elif self._facts.saved > (0, 0):
            self._progress.passed_over(found.LIVE, found.LIVE, "Redis holds no agent's memory", for_good=True)
        near = found.near(self._stores, self._facts)
        yield from near
        try:
            yield from found.far(self._stores, self._facts, near)
        except Unavailable as error:
            self._progress.passed_over("cold", "cold store", str(error), for_good=False)
            self._unreachable = error

    def _put_back(self, judged: Judged) -> Restored | None:
        """Put back what was proven, read it back and compare; None: it did not hold, the reason is kept."""
        candidate, snapshot = judged.candidate, judged.snapshot
        self._progress.tried(candidate.name, candidate.mark)
        if snapshot is None:
            again = judged.kind == UNREACHABLE
            self._progress.passed_over(candidate.key, candidate.name, judged.problem or "", for_good=not again)
            return None
        chosen = self._chosen(candidate, snapshot, judged.tier)
        self._progress.done("choose", "verify", chosen=chosen)
        failpoint("recovery.verified")
        if candidate.source == found.LIVE:
            self._progress.done("restore", "read_back")
            return Restored(chosen["source"], chosen["tier"], snapshot.revision, chosen["lost_s"], snapshot)
        revision = self._restore(snapshot)
        failpoint("recovery.put_back")
        problem = self._compare(snapshot, revision)
        if problem is not None:
            self._progress.passed_over(candidate.key, candidate.name, problem, for_good=True)
            return None
        self._progress.done("restore", "read_back")
        failpoint("recovery.compared")
        # Nothing put back is no revision: it must not look like memory that was there and went.
        kept = revision if any(map(is_memory, snapshot.parts)) else 0
        return Restored(chosen["source"], chosen["tier"], kept, chosen["lost_s"], snapshot)

    def _chosen(self, candidate: Candidate, snapshot: Snapshot, tier: str) -> dict[str, Any]:
        """Return what is put back and what it costs; a copy this very run made is what the run put back before."""
        report = self._progress.report
        if "chosen" in report and candidate.mark[0] >= report["first_epoch"]:
            earlier: dict[str, Any] = report["chosen"]
            return earlier
        known = datetime.fromisoformat(report["known_at"])
        lost = (
            0.0 if candidate.source == found.LIVE else loss_s(self._facts, candidate.mark, snapshot.created_at, known)
        )
        return {"source": candidate.name, "tier": tier, "lost_s": lost, "created_at": snapshot.created_at.isoformat()}

    def _restore(self, snapshot: Snapshot) -> int:
        self._touched = True
        return self._live.restore(snapshot.session_id, self._epoch, snapshot.parts)

    def _compare(self, snapshot: Snapshot, revision: int) -> str | None:
        [cut] = self._live.read([snapshot.session_id])
        if cut is None or cut.epoch != self._epoch:
            raise StaleEpoch(str(snapshot.session_id), self._epoch, cut.epoch if cut else "missing")
        if cut.revision != revision or _memory(cut.parts) != _memory(snapshot.parts):
            return "read back from Redis, it was not what had been put there"
        return None

    def _roll_back(self) -> None:
        """Leave the live state as it was found."""
        if self._touched and self._cut is not None:
            self._live.restore(self._facts.session_id, self._epoch, self._cut.parts)

    def _nothing_to_put_back(self) -> Restored:
        self._progress.done("choose", "verify", "restore", "read_back")
        return Restored(NEVER, "", 0, None, None)


def _memory(parts: Any) -> dict[str, bytes]:
    return {name: data for name, data in parts.items() if restorable(name)}
