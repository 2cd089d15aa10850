"""Why a session did, or did not, start, stop, pause or resume by itself: judged now, for a person; writes nothing."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field
from sqlalchemy import text

from fntx_sessions.automation.markets import market_json
from fntx_sessions.automation.rules import rows as decision_rows
from fntx_sessions.automation.rules.compile import compile_stored
from fntx_sessions.automation.rules.engine import evaluate
from fntx_sessions.automation.rules.facts import Situation, read_situations
from fntx_sessions.automation.rules.judgement import asked_why
from fntx_sessions.automation.rules.model import Action, RuleSets, Truth, Verdict
from fntx_sessions.automation.rules.moments import times
from fntx_sessions.database.feeds import FEED_NAME
from fntx_sessions.exceptions import Unavailable, verb
from fntx_sessions.lifecycle import halting
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.rows import Row, one
from fntx_sessions.schemas import Hold, Model, SessionStatus
from fntx_sessions.settings import Settings
from fntx_sessions.trading.market_store import latest_markets

S = SessionStatus
Json = dict[str, Any]
# A status in which each rule set is looked at, to judge those that are not looked at now.
_LOOKED_AT = {Action.START: S.INITIALIZING, Action.STOP: S.ACTIVE, Action.PAUSE: S.ACTIVE, Action.RESUME: S.PAUSED}
_NEEDS = {Action.START: "all", Action.STOP: "any", Action.PAUSE: "any", Action.RESUME: "all"}
_WHEN = {
    Action.START: "before it is started",
    Action.STOP: "while it runs or is paused, and in suspended and error while positions are open",
    Action.PAUSE: "while it is active",
    Action.RESUME: "while a rule alone has paused it",
}
_ENDED = (S.CLOSING, S.CLOSED)
# A due time that passed longer ago than this many intervals means that nobody sweeps.
_OVERDUE = 3

_SESSION = text(f"""
SELECT s.session_id, s.status, s.holds, s.pending, s.status_actor, s.status_reason, w.next_rule_at, r.evaluated_at,
  r.missing_since, clock_timestamp() AS now, {halting.STANDING} AS halts, s.config #>> '{{feed,kind}}' AS feed_kind,
  {FEED_NAME} AS feed
FROM sessions s LEFT JOIN session_work w USING (session_id) LEFT JOIN rule_states r USING (session_id)
WHERE s.session_id = :session_id
""")


class ExplainArguments(Model):
    """fntx.rules.explain: of which session, and how many of its last decisions."""

    session_id: UUID
    decisions: int = Field(default=5, ge=0, le=1000)


@dataclass(frozen=True, slots=True)
class _Question:
    """All that the answer is made of."""

    row: Row
    rules: RuleSets
    found: Situation
    settings: Settings

    def judged(self, status: SessionStatus, holds: frozenset[Hold]) -> Verdict:
        """Return what the rules would say in a status."""
        facts, memory = replace(self.found.facts, status=status), self.found.standing.memory
        return evaluate(self.rules, facts, memory, self.settings, holds=holds, positions=self.found.positions)


def explain(desk: Desk, arguments: ExplainArguments) -> Json:
    """Return each condition of each rule set as it is now, what will happen next and why, and the last decisions.

    A session whose rules were never evaluated is judged all the same. Raises NotFound, Busy and Unavailable.
    """
    row = one(desk.engine, _SESSION, arguments.session_id)
    found = read_situations(desk, [arguments.session_id])[arguments.session_id]
    asked = _Question(row, compile_stored(found.rules), found, desk.settings)
    verdict = asked.judged(found.facts.status, found.holds)
    return {
        **_standing_json(row, found),
        "feed": _feed_json(desk, row),
        "sets": [_set_json(asked, action, verdict) for action in Action],
        "next": _next(asked, verdict),
        "missing": list(verdict.missing),
        "warnings": [sentence for _, sentence in verdict.warnings],
        "decisions": decision_rows.decisions(desk.engine, arguments.session_id, arguments.decisions),
    }


def _standing_json(row: Row, found: Situation) -> Json:
    calendar = found.facts.calendar
    return {
        "session_id": str(row["session_id"]),
        "status": row["status"],
        "status_why": row["status_reason"],
        "status_by": row["status_actor"],
        "holds": row["holds"],
        "halts": row["halts"],
        "calendar": calendar.name,
        "now": times(calendar, found.facts.now),
        "evaluated_at": _iso(row["evaluated_at"]),
        "missing_since": _iso(row["missing_since"]),
    }


def _feed_json(desk: Desk, row: Row) -> Json:
    """Return the feed a session trades on and, where it is published, its latest market; `problem`: why there is none.

    None of it is there for a session that plays a day of its own.
    """
    found: Json = {"kind": row["feed_kind"], "name": row["feed"], "market": None, "problem": None}
    if row["feed_kind"] != "published":
        return found
    try:
        market = latest_markets(desk.redis, [row["feed"]]).get(row["feed"])
    except Unavailable as error:
        return found | {"problem": str(error)}
    problem = None if market else f"nothing is published to the feed {row['feed']!r}"
    return found | {"market": market_json(desk, market, row["now"]), "problem": problem}


def _set_json(asked: _Question, action: Action, verdict: Verdict) -> Json:
    looked_at = action.value in verdict.truths
    found = verdict if looked_at else asked.judged(_LOOKED_AT[action], frozenset({Hold.RULE}))
    return {
        "name": action.value,
        "needs": _NEEDS[action],
        "looked_at": looked_at,
        "when": _WHEN[action],
        # Nobody watched before now what is not looked at.
        "conditions": [
            _truth_json(truth, watched=looked_at and asked.row["evaluated_at"] is not None)
            for truth in found.truths.get(action.value, ())
        ],
    }


def _truth_json(truth: Truth, *, watched: bool) -> Json:
    """Return a condition as it is; since None: it is not known how long it has been so."""
    known = {True: "true", False: "false", None: "unknown"}
    shown = truth.to_json() | {"is": known[truth.holds]}
    children = [_truth_json(child, watched=watched) for child in truth.children]
    return shown | {"since": shown["since"] if watched else None, "children": children}


def _next(asked: _Question, verdict: Verdict) -> Json:
    """Return what will happen, when, and why; action None: nothing will."""
    row, action, refused = asked.row, verdict.action, asked.found.standing.asked
    if S(row["status"]) in _ENDED:
        return _told(None, f"nothing: it is {row['status']}, and its rules are not looked at any more")
    if action in (Action.START, Action.RESUME) and row["halts"]:
        return _told(None, f"it would {action.value} ({verdict.why}), but {halting.told(row['halts'])}")
    asleep = _asleep(asked)
    if action is None or asleep:
        return _told(None, asleep or verdict.why)
    if refused is not None and refused.action is action:
        times = "once" if refused.tries == 1 else f"{refused.tries} times"
        why = f"{asked_why(action, verdict.why)}; asked {times}, and the last answer was: {refused.outcome}"
        return _told(action, why, refused.again_at)
    return _told(action, verdict.why, row["next_rule_at"])


def _told(action: Action | None, why: str, at: datetime | None = None) -> Json:
    return {"action": action.value if action else None, "at": _iso(at), "why": why}


def _asleep(asked: _Question) -> str:
    """Return why nobody evaluates these rules just now; empty where somebody does, be it at each simulated bar."""
    row = asked.row
    if row["pending"] is not None:
        return f"it waits for its {verb(row['pending']['trigger'])} to be finished"
    if row["next_rule_at"] is None:
        by_hand = S(row["status"]) is S.INITIALIZING and not asked.rules.start
        return "it has no start rules: a person starts it" if by_hand else ""
    late_s = (row["now"] - row["next_rule_at"]).total_seconds()
    if late_s <= _OVERDUE * asked.settings.rule_interval_s:
        return ""
    return f"its evaluation is {late_s:.0f} s overdue: `fntx status` says whether beat and a worker of sweeps run"


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
