"""Sessions that were handed out: kept fresh in place, and what their holders edited told apart from what is stored.

One object per session and manager. Each is remembered beside its baseline, a copy of what the desk said last; what
differs from it is an edit. Nobody keeps an object alive here: when its holders let go, it is forgotten.
"""

import weakref
from collections.abc import Iterable
from copy import deepcopy
from typing import Any
from uuid import UUID

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.schemas import SessionStatus, TradingSession

EDITABLE = ("config", "risk_parameters", "enabled_strategies", "strategy_parameters")
# What is only shown: large, and read from elsewhere than the session's row. A list does not bring it.
SHOWN = frozenset(
    {"agent_states", "market_state", "trading_state", "events", "checkpoints", "metrics", "recovery_data",
     "last_checkpoint_id", "child_session_ids", "shredded_at"}
)  # fmt: skip
ROW = tuple(name for name in TradingSession.model_fields if name not in SHOWN)
_FIX = "It was put back to what the desk holds. Edit config, risk_parameters or strategies, then start."
Edits = dict[str, Any]
_EVERY: "weakref.WeakSet[FreshSessions]" = weakref.WeakSet()


def learn_everywhere(outcome: Outcome, session: TradingSession | None = None) -> None:
    """Take in where a command left its session, in every manager of this process that handed it out.

    session: an object of it that may be nobody's; older than what is known, nothing changes.
    """
    for each in list(_EVERY):
        each.learn_outcome(outcome)
    if session is None or outcome.status is None or outcome.version is None or outcome.epoch is None:
        return
    if session.session_id == outcome.session_id and session.version < outcome.version:
        session.status, session.version, session.epoch = outcome.status, outcome.version, outcome.epoch


class _Held:
    """One session that somebody holds. based_on: the version at which what was edited was last seen."""

    def __init__(self, session: TradingSession) -> None:
        self.session = weakref.ref(session)
        self.baseline = {name: deepcopy(getattr(session, name)) for name in ROW}
        self.based_on = session.version
        self.settled = False
        self.meddled: set[str] = set()


class FreshSessions:
    """The sessions that one manager handed out."""

    def __init__(self) -> None:
        self._held: dict[UUID, _Held] = {}
        _EVERY.add(self)

    def take_in(self, seen: TradingSession, *, whole: bool = True) -> TradingSession:
        """Return the session's one object, made like `seen` but for what its holder edited.

        whole False: `seen` is from a list and brings no states, events or checkpoints. Something older than what is
        known changes nothing.
        """
        held, session = self._find(seen.session_id)
        if held is None or session is None:
            self._held[seen.session_id] = _Held(seen)
            weakref.finalize(seen, self._forget, seen.session_id)
            return seen
        if seen.version < session.version:
            return session
        _refresh(held, session, seen)
        for name in SHOWN if whole else ():
            setattr(session, name, getattr(seen, name))
        return session

    def learn(self, session_id: UUID, status: SessionStatus, version: int, epoch: int) -> None:
        """Take in what an answer said of a session in passing; older than what is known, it changes nothing."""
        held, session = self._find(session_id)
        if held is None or session is None or version < session.version:
            return
        for name, value in (("status", status), ("version", version), ("epoch", epoch)):
            setattr(session, name, value)
            held.baseline[name] = value

    def learn_outcome(self, outcome: Outcome) -> None:
        """Take in where a command left its session."""
        if outcome.status is not None and outcome.version is not None and outcome.epoch is not None:
            self.learn(outcome.session_id, outcome.status, outcome.version, outcome.epoch)

    def edits(self, session_id: UUID) -> Edits:
        """Return what the holder edited and the version it was based on, as a start takes it; empty without edits.

        Only the keys that differ are sent: those left out stay as they are stored. Raises InvalidArgument naming a
        field that cannot be edited.
        """
        held, session = self._find(session_id)
        if held is None or session is None:
            return {}
        _refuse_meddling(held, session)
        edits = {name: _difference(getattr(session, name), held.baseline[name], name) for name in EDITABLE}
        edits = {name: value for name, value in edits.items() if value is not None}
        return {**edits, "expected_version": held.based_on} if edits else {}

    def behind(self, session_id: UUID) -> bool:
        """Tell whether the session moved on since its editable fields were last seen."""
        held, session = self._find(session_id)
        return held is not None and session is not None and held.based_on != session.version

    def drop_edits(self, session_id: UUID) -> None:
        """Note that edits were taken, or refused for another's: the next look shows what is stored in their place."""
        held, _ = self._find(session_id)
        if held is not None:
            held.settled = True

    def _find(self, session_id: UUID) -> tuple[_Held | None, TradingSession | None]:
        held = self._held.get(session_id)
        return held, None if held is None else held.session()

    def _forget(self, session_id: UUID) -> None:
        held = self._held.get(session_id)
        if held is not None and held.session() is None:
            del self._held[session_id]


def _refresh(held: _Held, session: TradingSession, seen: TradingSession) -> None:
    """Bring the row's fields up to date; an edit stays, in conflict when what it changed was changed elsewhere."""
    conflict = False
    for name in ROW:
        new, base, mine = getattr(seen, name), held.baseline[name], getattr(session, name)
        edited = mine not in (base, new)
        if edited and name in EDITABLE and not held.settled:
            conflict = conflict or new != base
            continue
        if edited and name not in EDITABLE:
            held.meddled.add(name)
        setattr(session, name, new)
        held.baseline[name] = deepcopy(new)
    held.settled = False
    if not conflict:
        held.based_on = seen.version


def _refuse_meddling(held: _Held, session: TradingSession) -> None:
    changed = {name for name in ROW if name not in EDITABLE and getattr(session, name) != held.baseline[name]}
    for name in changed:
        setattr(session, name, deepcopy(held.baseline[name]))
    meddled, held.meddled = held.meddled | changed, set()
    if meddled:
        raise InvalidArgument(f"session.{min(meddled)}", "cannot be edited", _FIX)


def _difference(mine: Any, base: Any, name: str) -> Any:
    """Return what was edited: a dict's changed keys, a list whole; None where nothing was."""
    if mine == base:
        return None
    if not isinstance(base, dict):
        if isinstance(mine, Iterable) and not isinstance(mine, str):
            return list(mine)
        raise InvalidArgument(name, "is not a list", "Assign a list of names.")
    if not isinstance(mine, dict):
        raise InvalidArgument(name, "is not a dict", "Assign a dict of names and values.")
    changed = {key: value for key, value in mine.items() if key not in base or value != base[key]}
    return changed or None
