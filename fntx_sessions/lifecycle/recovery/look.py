"""What could be put back, looked at without changing anything: judged as far as a plan needs it."""

from dataclasses import dataclass, field, replace

from fntx_sessions.exceptions import Unavailable
from fntx_sessions.lifecycle.recovery import candidates as found
from fntx_sessions.lifecycle.recovery.candidates import Candidate
from fntx_sessions.lifecycle.recovery.facts import Facts, Stores
from fntx_sessions.lifecycle.recovery.judging import DAMAGED, FOREIGN, MISSING, UNREACHABLE, Judged, judge, whole
from fntx_sessions.state.live import LiveCut, LiveState
from fntx_sessions.state.parts import is_memory


@dataclass(frozen=True, slots=True)
class Look:
    """What a plan sees: the session, its live state, and each candidate as it was judged.

    later: usable perhaps, not read yet. named: the key of the one a person named, nothing where nobody did: then it is
    the only one here, and `others` says how many more could be named.
    """

    facts: Facts
    cut: LiveCut | None
    named: str = ""
    usable: list[Judged] = field(default_factory=list)
    later: list[Candidate] = field(default_factory=list)
    bad: list[Judged] = field(default_factory=list)
    others: int = 0


def look_at(stores: Stores, facts: Facts, accept: str | None, named: Candidate | None) -> Look:
    """Return what a recovery would try, the first `plan_verified_max` usable ones proven; raises as a plan does."""
    key = named.key if named else ""
    try:
        [cut] = LiveState(stores.redis, stores.settings).read([facts.session_id])
    except Unavailable as error:
        look, near = Look(facts, None, key), found.near(stores, facts, hot=False)
        look.bad.append(Judged(found.unread(found.LIVE, "live"), problem=str(error), kind=UNREACHABLE))
    else:
        look = Look(facts, cut, key)
        near = [*_live(stores, facts, look), *found.near(stores, facts)]
    if named is not None:
        return _only(stores, look, named, near, accept)
    for candidate in near:
        _take(stores, look, candidate, accept)
    if not look.usable:
        _search_far(stores, look, near, accept)
    return look


def _only(stores: Stores, look: Look, named: Candidate, near: list[Candidate], accept: str | None) -> Look:
    """Return a look at the one that was named; raises NotFound where there is none."""
    known = {one.key: one for one in (named, *near)}
    # Its row knows more of it, where there is one; whoever names it wants it looked at again.
    only = Look(look.facts, look.cut, named.key, others=len(known) - 1)
    _take(stores, only, replace(known[named.key], damage=None), accept)
    for judged in only.bad:
        if judged.kind in (MISSING, FOREIGN) and judged.error is not None:
            raise judged.error
    return only


def _live(stores: Stores, facts: Facts, look: Look) -> list[Candidate]:
    cut = look.cut
    if cut is not None and any(map(is_memory, cut.parts)):
        return [found.live(cut, lambda: whole(stores, facts, (cut.epoch, cut.revision), cut))]
    if facts.saved > (0, 0):
        gone = found.unread(found.LIVE, "live", (facts.epoch, 0))
        look.bad.append(Judged(gone, problem="Redis holds no agent's memory", kind=DAMAGED))
    return []


def _take(stores: Stores, look: Look, candidate: Candidate, accept: str | None) -> None:
    if candidate.damage is None and len(look.usable) >= stores.settings.plan_verified_max:
        look.later.append(candidate)
        return
    try:
        judged = judge(stores, look.facts, candidate, accept)
    except Unavailable as error:
        judged = Judged(candidate, problem=str(error), kind=UNREACHABLE)
    (look.usable if judged.snapshot else look.bad).append(judged)


def _search_far(stores: Stores, look: Look, near: list[Candidate], accept: str | None) -> None:
    try:
        for candidate in found.far(stores, look.facts, near):
            _take(stores, look, candidate, accept)
    except Unavailable as error:
        look.bad.append(Judged(found.unread(found.COLD, "cold store"), problem=str(error), kind=UNREACHABLE))
