"""Rehearsal: a rule set run over what was, on a status of its own that begins anew every day. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

from fntx_sessions.automation.rules.conditions.hours import hours_of
from fntx_sessions.automation.rules.engine import evaluate
from fntx_sessions.automation.rules.model import Action, Facts, Memory, RuleSets, Truth, Verdict
from fntx_sessions.automation.rules.moments import Moment
from fntx_sessions.schemas import Hold, SessionStatus
from fntx_sessions.settings import Settings
from fntx_sessions.trading.calendars import Calendar

NOBODY = UUID(int=0)
HAND = "hand"
RULE = "rule"
_BECOMES = {
    Action.START: SessionStatus.ACTIVE,
    Action.RESUME: SessionStatus.ACTIVE,
    Action.PAUSE: SessionStatus.PAUSED,
    Action.STOP: SessionStatus.CLOSED,
}
# One moment may start, pause and stop: more than the table allows cannot follow at once.
_AT_ONCE = len(Action)


@dataclass(frozen=True, slots=True)
class Course:
    """What is rehearsed, and by which hours. extended: as an Extended Hours session would be judged."""

    rules: RuleSets
    calendar: Calendar
    settings: Settings
    extended: bool = False


@dataclass(frozen=True, slots=True)
class Firing:
    """One change of the rehearsed status. by: ``rule``, or ``hand`` where no start rule says when. paths: those met."""

    at: datetime
    action: Action
    why: str
    by: str = RULE
    paths: tuple[str, ...] = ()


@dataclass(slots=True)
class Sight:
    """One condition over a day: when it was first met, and at how many moments it was looked at and not known."""

    truth: Truth
    looked: int = 0
    unknown: int = 0
    first_met: datetime | None = None
    why_met: str = ""

    def see(self, at: datetime, truth: Truth) -> None:
        """Count one more look."""
        self.truth = truth
        self.looked += 1
        self.unknown += truth.holds is None
        if truth.met and self.first_met is None:
            self.first_met, self.why_met = at, truth.why

    @property
    def never_known(self) -> bool:
        """Tell whether there never was data to judge it by."""
        return self.looked > 0 and self.unknown == self.looked


@dataclass(frozen=True, slots=True)
class DayReport:
    """How one day went. status: at its end. idle_why: why it was not started, or what kept it as it was."""

    day: date
    status: SessionStatus
    firings: tuple[Firing, ...]
    sights: dict[str, Sight]
    idle_why: str
    half_day: bool
    moments: int

    def first(self, action: Action) -> Firing | None:
        """Return the day's first firing of an action."""
        return next((one for one in self.firings if one.action is action), None)

    def count(self, action: Action) -> int:
        """Return how often an action fired."""
        return sum(one.action is action for one in self.firings)


@dataclass(slots=True)
class _Run:
    """A day under way."""

    course: Course
    day: date
    status: SessionStatus = SessionStatus.INITIALIZING
    memory: Memory = field(default_factory=Memory)
    started_at: datetime | None = None
    idle_why: str = ""
    moments: int = 0
    firings: list[Firing] = field(default_factory=list)
    sights: dict[str, Sight] = field(default_factory=dict)


def rehearse_day(course: Course, day: date, moments: Iterable[Moment]) -> DayReport:
    """Run the rules over one day's moments, in order, from INITIALIZING on; a stop ends the day.

    Without a start rule somebody is taken to start it at the first moment of its hours with a market.
    """
    run = _Run(course, day)
    for moment in moments:
        if run.status is SessionStatus.CLOSED:
            break
        run.moments += 1
        _look(run, moment)
    hours = course.calendar.hours(day)
    half_day = hours is not None and hours.half_day
    return DayReport(day, run.status, tuple(run.firings), run.sights, run.idle_why, half_day, run.moments)


def _look(run: _Run, moment: Moment) -> None:
    """Judge one moment, and at once again after each change, as the sweep does after each command."""
    for _ in range(_AT_ONCE):
        if _by_hand(run, moment):
            _move(run, moment, Firing(moment.at, Action.START, "no start rule: taken as started by a person", HAND))
            continue
        verdict = _judge(run, moment)
        run.memory = verdict.memory
        _see(run, moment.at, verdict)
        if verdict.action is None:
            _note_idle(run, moment, verdict)
            return
        _move(run, moment, Firing(moment.at, verdict.action, verdict.why, RULE, _met(verdict)))
        if run.status is SessionStatus.CLOSED:
            return


def _by_hand(run: _Run, moment: Moment) -> bool:
    if run.status is not SessionStatus.INITIALIZING or run.course.rules.start or moment.market is None:
        return False
    return _in_hours(run, moment.at)


def _in_hours(run: _Run, at: datetime) -> bool:
    hours = hours_of(run.course.calendar, run.day, extended=run.course.extended)
    return hours is not None and hours[0] <= at < hours[1]


def _judge(run: _Run, moment: Moment) -> Verdict:
    course, started = run.course, run.started_at is not None
    facts = Facts(
        session_id=NOBODY,
        now=moment.at,
        status=run.status,
        calendar=course.calendar,
        extended=course.extended,
        started_at=run.started_at,
        market=moment.market,
        # What the recorded session had is not the rehearsed one's before it is started.
        session=moment.session if started else None,
        unrecorded=True,
    )
    holds = frozenset({Hold.RULE} if run.status is SessionStatus.PAUSED else ())
    positions = bool(facts.session and facts.session.position_count)
    return evaluate(course.rules, facts, run.memory, course.settings, holds=holds, positions=positions)


def _see(run: _Run, at: datetime, verdict: Verdict) -> None:
    for truths in verdict.truths.values():
        for truth in truths:
            run.sights.setdefault(truth.path, Sight(truth)).see(at, truth)


def _met(verdict: Verdict) -> tuple[str, ...]:
    truths = verdict.truths.get(verdict.action.value, ()) if verdict.action else ()
    return tuple(truth.path for truth in truths if truth.met)


def _note_idle(run: _Run, moment: Moment, verdict: Verdict) -> None:
    """Keep the last reason of the hours: after the close every day is not started because it is shut."""
    if not run.idle_why or _in_hours(run, moment.at):
        run.idle_why = verdict.why


def _move(run: _Run, moment: Moment, firing: Firing) -> None:
    run.firings.append(firing)
    run.status = _BECOMES[firing.action]
    if firing.action is Action.START:
        run.started_at = moment.at
