"""The board: a page of sessions as rows, those that need somebody first, and how many there are in each status."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

from pydantic import Field, field_validator, model_validator

from fntx_sessions.automation.rules.facts import Found, read_found
from fntx_sessions.automation.rules.measured import session_facts
from fntx_sessions.automation.rules.model import SessionFacts
from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.board_next import NextRule, Standing, next_rule
from fntx_sessions.lifecycle.reads.board_sql import BOARD, CLOSED_COUNTED, Sort
from fntx_sessions.schemas import Finite, Model, Money, SessionStatus, SessionType, Time
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.scope import bound as bound_scope
from fntx_sessions.trading.calendars import Calendar, get_calendar

S = SessionStatus
Row = dict[str, Any]
OPEN = tuple(status.value for status in S if status is not S.CLOSED)
_PAGES_MAX = 100_000


class BoardQuery(Model):
    """Which rows. status None: all that are not closed. text: is in an id, name, account, tag, reason or actor.

    session_ids: these alone; session_id: this one, for a caller whose token is good for it alone. page: from 1.
    reverse: the other way round than one would expect of `sort`. What agents elsewhere report is in Redis: sorted by
    such figures, their sessions come last.
    """

    status: list[str] | None = Field(default=None, min_length=1, max_length=10)
    session_type: SessionType | None = None
    template_name: str | None = Field(default=None, max_length=200)
    account_id: str | None = Field(default=None, max_length=200)
    text: str | None = Field(default=None, max_length=200)
    needs_attention: bool = False
    session_ids: list[UUID] | None = Field(default=None, max_length=10_000)
    session_id: UUID | None = None
    include_children: bool = False
    sort: Sort = "attention"
    reverse: bool = False
    page: int = Field(default=1, ge=1, le=_PAGES_MAX)
    limit: int = Field(default=100, ge=1, le=1000)

    @field_validator("status")
    @classmethod
    def _is_known(cls, value: list[str] | None) -> list[str] | None:
        unknown = sorted(set(value or ()) - set(S))
        if unknown:
            raise InvalidArgument("status", f"unknown status {unknown[0]!r}", f"Known: {', '.join(S)}.")
        return value

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if self.session_id is not None and self.session_ids is not None:
            raise InvalidArgument("session_ids", "stands beside session_id", "Give one of the two.")
        return self


class Limit(Model):
    """How much of a limit is used. name: loss or contracts; used, limit: dollars or contracts; share: 0 and up.

    fired: the account's loss limit has fired today, wherever the loss stands by now.
    """

    name: str
    used: Money
    limit: Money
    share: Finite
    fired: bool = False


class LastCheckpoint(Model):
    """The newest checkpoint."""

    checkpoint_id: UUID
    at: Time
    verified: bool
    type: str
    tier: str


class BoardRow(Model):
    """A session as a row. None: not known.

    pnl_today: its own, dollars after fees, of its clock's trade date; drawdown: dollars, <= 0. limits: the nearest
    first. figures_old: what they were made of is older than `rule_data_max_age_s`. simulated: it goes by a clock of its
    own, where that stands is clock_at. health: as it was seen last; None: never. unattended: positions or not, nobody
    steps it.
    """

    session_id: UUID
    session_type: SessionType
    status: SessionStatus
    version: int
    epoch: int
    template_name: str | None
    account_id: str
    broker: str
    status_since: Time
    status_actor: str
    status_reason: str
    requires_action: str | None
    holds: list[str]
    halted: bool
    pending: str | None
    created_at: Time
    started_at: Time | None
    tags: list[str]
    health: str | None
    approvals: int
    unattended: bool
    simulated: bool
    clock_at: Time | None
    pnl_today: Money | None
    drawdown: Money | None
    positions: int | None
    limits: list[Limit]
    figures_old: bool
    agents: int
    agents_ready: int
    agents_not_ready: list[str]
    last_saved_at: Time | None
    save_overdue: bool
    checkpoint: LastCheckpoint | None
    next_rule: NextRule


class StandingHalt(Model):
    """A halt that nobody has released yet. scope: ``all``, ``account``, ``template`` or ``session``."""

    halt_id: UUID
    scope: str
    scope_name: str | None
    reason: str
    actor: str
    created_at: Time
    flatten: bool


class BoardPage(Model):
    """A page of the board, of one moment. counts: sessions by status that pass all filters but that of the status.

    needing: how many of those that pass need somebody. total: of the rows asked for, over all pages; `more_closed`:
    there are more closed ones than `counts` says, where they were not asked for. halts: those that stand. templates:
    the names of all there are.
    """

    rows: list[BoardRow]
    total: int
    page: int
    pages: int
    limit: int
    counts: dict[str, int]
    needing: int
    more_closed: bool
    halts: list[StandingHalt]
    templates: list[str]
    now: Time


def read_board(desk: Desk, asked: BoardQuery, actor: Actor | None = None) -> BoardPage:
    """Return a page of the board; a page past the last has no rows. Two statements, whatever is on it.

    actor: of the sessions in their token's scope alone; None: of all.
    Redis away: what agents elsewhere report is not known. Raises Unavailable (Postgres).
    """
    with transaction(desk.engine) as connection:
        found = rows(connection.execute(BOARD[asked.sort, asked.reverse], _bound(asked) | bound_scope(actor)))
    head, listed = found[0], [row for row in found if row["session_id"] is not None]
    money = read_found(desk, [row for row in listed if row["measures"] is not None])
    total = _total(asked, head)
    return BoardPage(
        rows=[_row(desk, row, money) for row in listed],
        total=total,
        page=asked.page,
        pages=max(-(-total // asked.limit), 1),
        limit=asked.limit,
        counts={status.value: head["counts"].get(status, 0) for status in S},
        needing=sum(head["needing"].values()),
        more_closed=not _with_closed(asked) and head["counts"].get(S.CLOSED, 0) == CLOSED_COUNTED,
        halts=[one for one in head["standing"] if _concerns(actor, one)],
        templates=[one for one in head["templates"] if actor is None or not actor.scoped or one in actor.templates],
        now=head["now"],
    )


def _concerns(actor: Actor | None, halt: Row) -> bool:
    """Tell whether a halt is for somebody's eyes: its name may be a session's, or an account's, that is not theirs."""
    if actor is None or not actor.scoped or halt["scope"] == "all":
        return True
    theirs = {"session": actor.sessions, "template": actor.templates}.get(halt["scope"], frozenset())
    return halt["scope_name"] in theirs


def _bound(asked: BoardQuery) -> Row:
    ids = asked.session_ids if asked.session_id is None else [asked.session_id]
    return {
        "status": asked.status or list(OPEN),
        "closed": _with_closed(asked),
        "session_type": asked.session_type,
        "template_name": asked.template_name,
        "account_id": asked.account_id,
        "search": asked.text.lower() if asked.text else None,
        "ids": None if ids is None else [str(one) for one in ids],
        "needs_attention": asked.needs_attention,
        "include_children": asked.include_children,
        "today": get_calendar().trade_date(datetime.now(UTC)),
        "limit": asked.limit,
        "offset": (asked.page - 1) * asked.limit,
    }


def _with_closed(asked: BoardQuery) -> bool:
    return S.CLOSED in (asked.status or ())


def _total(asked: BoardQuery, head: Row) -> int:
    counted = head["needing"] if asked.needs_attention else head["counts"]
    return sum(counted.get(status, 0) for status in asked.status or OPEN)


def _row(desk: Desk, row: Row, found: Found) -> BoardRow:
    facts, own = _facts(row, found)
    old = facts is not None and row["started_at"] is not None and facts.age_s > desk.settings.rule_data_max_age_s
    running = row["status"] not in (S.INITIALIZING, S.CLOSED)
    return BoardRow(
        **{name: row[name] for name in _PLAIN},
        halted=bool(row["halts"]),
        pending=row["pending"]["trigger"] if row["pending"] else None,
        unattended=row["unattended"] is not None,
        clock_at=row["clock_at"] if row["simulated"] else None,
        pnl_today=own,
        drawdown=facts.drawdown if facts and running else None,
        positions=facts.position_count if facts and running else None,
        limits=_limits(row, facts) if facts and running else [],
        figures_old=running and old,
        agents_ready=row["ready"],
        agents_not_ready=row["not_ready"],
        next_rule=next_rule(_standing(row, found, facts)),
    )


def _facts(row: Row, found: Found) -> tuple[SessionFacts | None, Decimal | None]:
    """Return how a session does, and its own P&L of the day; None where nobody knows, or it never ran."""
    money = found.rows.get(row["session_id"])
    if money is None or row["started_at"] is None:
        return None, None
    report = found.reports.get(row["session_id"])
    facts = session_facts(money, report)
    if money["remote"] and not money["guarded"]:
        return facts, report.trading.daily_pnl if report and report.trading else None
    return facts, money["own_pnl"] if money["measures"] else None


def _standing(row: Row, found: Found, facts: SessionFacts | None) -> Standing:
    calendar = _calendar(row)
    now = row["clock_at"] if row["simulated"] and row["clock_at"] is not None else row["now"]
    return Standing(row, calendar, now, facts if row["session_id"] in found.rows else None)


def _calendar(row: Row) -> Calendar:
    try:
        return get_calendar(row["calendar"])
    except InvalidArgument:
        return get_calendar()


def _limits(row: Row, facts: SessionFacts) -> list[Limit]:
    """Return the limits whose use is known, the nearest first."""
    found = [one for one in (_loss(facts), _contracts(row, facts)) if one is not None]
    return sorted(found, key=lambda one: -one.share)


def _loss(facts: SessionFacts) -> Limit | None:
    pnl, limit = facts.daily_pnl, facts.loss_limit
    if pnl is None or limit is None or not pnl.is_finite() or not limit > 0:
        return None
    used = max(-pnl, Decimal(0))
    share = max(float(used / limit), 1.0 if facts.latched else 0.0)
    return Limit(name="loss", used=used, limit=limit, share=share, fired=facts.latched)


def _contracts(row: Row, facts: SessionFacts) -> Limit | None:
    count, limit = facts.position_count, row["risk_parameters"].get("position_limit")
    if count is None or not limit:
        return None
    return Limit(name="contracts", used=Decimal(count), limit=Decimal(limit), share=count / limit)


_PLAIN = (
    "session_id", "session_type", "status", "version", "epoch", "template_name", "account_id", "broker", "status_since",
    "status_actor", "status_reason", "requires_action", "holds", "created_at", "started_at", "tags", "health",
    "approvals", "simulated", "agents", "last_saved_at", "save_overdue", "checkpoint",
)  # fmt: skip
