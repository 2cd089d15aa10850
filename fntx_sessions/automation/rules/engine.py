"""From rules and facts to a verdict: what is to be done, and why, or why not. Pure, but for plug-ins' own code."""

from collections.abc import Iterable, Iterator, Mapping

from fntx_sessions.automation.rules.judging import Entry, Look, judge, leaves
from fntx_sessions.automation.rules.model import Action, Facts, Memory, Rule, RuleSets, Truth, Verdict
from fntx_sessions.schemas import Hold, SessionStatus
from fntx_sessions.settings import Settings

S = SessionStatus
Truths = dict[str, tuple[Truth, ...]]

# Which sets are looked at in a status, the first to fire wins. PAUSED looks at pause only to know what still holds.
_LOOKED_AT: Mapping[SessionStatus, tuple[str, ...]] = {
    S.INITIALIZING: ("start",),
    S.ACTIVE: ("stop", "pause"),
    S.PAUSED: ("stop", "pause", "resume"),
    S.SUSPENDED: ("stop",),
    S.ERROR: ("stop",),
}
_POSITIONS_ONLY = (S.SUSPENDED, S.ERROR)
_AGAINST = ("stop", "pause")
_WHY_MAX = 1000


def evaluate(
    rules: RuleSets, facts: Facts, memory: Memory, settings: Settings, *, holds: frozenset[Hold], positions: bool
) -> Verdict:
    """Return what a session's rules ask for at `facts.now`.

    Nothing starts or resumes while what would stop or pause it is not known for want of data that should be there.
    holds: why it is paused. positions: some are open, so that stop rules are looked at in SUSPENDED and ERROR too.
    """
    names = _looked_at(facts.status, positions=positions)
    look = Look(facts, settings, memory.rules, facts.now.isoformat(timespec="microseconds"))
    truths: Truths = {name: tuple([judge(rule, look) for rule in getattr(rules, name)]) for name in names}
    action, why = _seeing(*_decide(facts.status, truths, holds), rules, truths, look)
    kept = Memory(_cooling(memory, names) | look.kept)
    return Verdict(
        action,
        why if len(why) <= _WHY_MAX else f"{why[: _WHY_MAX - 1]}…",
        truths,
        kept if action is None else _fired(kept, getattr(rules, action.value), truths[action.value], look.now_text),
        _missing(rules, truths, look) if look.missing else (),
        tuple(look.warnings),
        None if action is None else kept,
    )


def _looked_at(status: SessionStatus, *, positions: bool) -> tuple[str, ...]:
    return () if status in _POSITIONS_ONLY and not positions else _LOOKED_AT.get(status, ())


def _decide(status: SessionStatus, truths: Truths, holds: frozenset[Hold]) -> tuple[Action | None, str]:
    if not truths:
        return None, f"{status.value}: no rules are looked at"
    if status is S.INITIALIZING:
        return _start(truths["start"])
    stopping = _met(truths["stop"])
    if stopping:
        return Action.STOP, f"stopped: {_told(stopping)}"
    if status is S.ACTIVE:
        return _pause(truths)
    if status is S.PAUSED:
        return _resume(truths, holds)
    return None, _unmoved(status.value, truths["stop"])


def _start(truths: tuple[Truth, ...]) -> tuple[Action | None, str]:
    if not truths:
        return None, "not started: there are no start rules"
    unmet = [truth for truth in truths if not truth.met]
    return (None, f"not started: {_told(unmet)}") if unmet else (Action.START, f"started: {_told(truths)}")


def _pause(truths: Truths) -> tuple[Action | None, str]:
    pausing = _met(truths["pause"])
    if pausing:
        return Action.PAUSE, f"paused: {_told(pausing)}"
    return None, _unmoved("goes on", truths["stop"] + truths["pause"])


def _resume(truths: Truths, holds: frozenset[Hold]) -> tuple[Action | None, str]:
    resuming = truths["resume"]
    if not resuming:
        return None, "not resumed: there are no resume rules"
    others = sorted(hold.value for hold in holds - {Hold.RULE})
    if others or not holds:
        return None, f"not resumed: held by {', '.join(others) or 'nobody'}, and a rule lifts what a rule held"
    unmet = [truth for truth in resuming if not truth.met]
    if unmet:
        return None, f"not resumed: {_told(unmet)}"
    against = [truth for truth in truths["stop"] + truths["pause"] if truth.holds]
    if against:
        return None, f"not resumed: what stops or pauses it holds: {_told(against)}"
    return Action.RESUME, f"resumed: {_told(resuming)}"


def _seeing(action: Action | None, why: str, rules: RuleSets, truths: Truths, look: Look) -> tuple[Action | None, str]:
    """Return what was decided, but for a start or a resume while what stops or pauses the session cannot be seen."""
    if action not in (Action.START, Action.RESUME):
        return action, why
    unseen = _unseen(rules, truths, look)
    if not unseen:
        return action, why
    return None, f"not {why.partition(':')[0]}: what stops or pauses it is not known: {_told(unseen)}"


def _unseen(rules: RuleSets, truths: Truths, look: Look) -> list[Truth]:
    """Return the stop and pause rules that lack data; those of a session that has not started leave no memory."""
    beside = look if "stop" in truths else Look(look.facts, look.settings, {}, look.now_text)
    found = []
    for name in _AGAINST:
        named = getattr(rules, name)
        judged = truths[name] if name in truths else [judge(rule, beside) for rule in named]
        found += [truth for rule, truth in zip(named, judged, strict=True) if _lacks_data(rule, truth, beside)]
    return found


def _unmoved(what: str, truths: tuple[Truth, ...]) -> str:
    return f"{what}: {_told(truths)}" if truths else f"{what}: no stop or pause rules"


def _met(truths: Iterable[Truth]) -> list[Truth]:
    return [truth for truth in truths if truth.met]


def _told(truths: Iterable[Truth]) -> str:
    return "; ".join([truth.why for truth in truths])


def _missing(rules: RuleSets, truths: Truths, look: Look) -> tuple[str, ...]:
    """Return the stop rules whose answer is not known for want of data that should be there."""
    return tuple(
        rule.path
        for rule, truth in zip(rules.stop, truths.get("stop", ()), strict=False)
        if _lacks_data(rule, truth, look)
    )


def _lacks_data(rule: Rule, truth: Truth, look: Look) -> bool:
    return truth.holds is None and any(leaf.path in look.missing for leaf in leaves(rule))


def _cooling(memory: Memory, names: tuple[str, ...]) -> dict[str, Entry]:
    """Return what is kept of rules that are not looked at now: when they fired. How long they held begins anew."""
    return {
        path: {"mark": entry["mark"], "fired": entry["fired"]}
        for path, entry in memory.rules.items()
        if "fired" in entry and path.partition(".")[0] not in names
    }


def _fired(kept: Memory, rules: tuple[Rule, ...], truths: tuple[Truth, ...], now: str) -> Memory:
    paths = list(_cooled(zip(rules, truths, strict=True)))
    return Memory({**kept.rules, **{path: {**kept.rules[path], "fired": now} for path in paths}}) if paths else kept


def _cooled(pairs: Iterable[tuple[Rule, Truth]]) -> Iterator[str]:
    for rule, truth in pairs:
        if rule.cooldown_s and truth.met:
            yield rule.path
        yield from _cooled(zip(rule.children, truth.children, strict=True))
