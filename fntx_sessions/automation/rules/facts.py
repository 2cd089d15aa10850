"""What rules may know of sessions: read for many at once, aged by Postgres's clock. Nothing is written.

One statement for Postgres, one pipeline over the feeds they are on, and one over sessions with remote agents, however
many sessions are asked about; the moment and the calendars come from the claim, or from a statement before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import text

from fntx_sessions.automation.rules.market import market_of, published
from fntx_sessions.automation.rules.measured import session_facts
from fntx_sessions.automation.rules.model import Facts, MarketFacts
from fntx_sessions.automation.rules.reports import LiveReport, read_reports
from fntx_sessions.automation.rules.standing import Standing
from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.database.feeds import FEED_NAME
from fntx_sessions.database.hosting import POSITIONS
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.orders import EQUITY_AT_ROLL
from fntx_sessions.schemas import Hold, SessionStatus, SessionType
from fntx_sessions.trading.calendars import get_calendar

log = structlog.get_logger(__name__)
Row = dict[str, Any]

# What has to be known of a session before its trade date is: whose clock it goes by, and where that stands.
_SIMULATED = "s.started_at IS NOT NULL AND w.hosted AND s.config -> 'feed' ->> 'kind' <> 'published'"
MOMENT_COLUMNS = f"""s.session_id, now() AS now, s.config ->> 'calendar' AS calendar, w.clock_at,
  {_SIMULATED} AS simulated"""
_MOMENTS = text(f"""
SELECT {MOMENT_COLUMNS} FROM sessions s JOIN session_work w USING (session_id) WHERE s.session_id = ANY(:ids)
""")
# The account's day as `lifecycle.orders.account_day` has it, read without opening it. What is realised does not age;
# what is open is as old as the oldest mark.
_READ = text(f"""
WITH asked AS (
  SELECT t.session_id, t.trade_date, s.account_id
  FROM unnest(CAST(:ids AS uuid[]), CAST(:dates AS date[])) AS t(session_id, trade_date)
  JOIN sessions s USING (session_id)
), days AS (
  SELECT x.account_id, x.trade_date, coalesce(d.carried, 0) AS carried, d.latched_at IS NOT NULL AS latched,
    coalesce(d.equity_at_roll, {EQUITY_AT_ROLL.format(day="x.trade_date")}) AS equity_at_roll
  FROM (SELECT DISTINCT account_id, trade_date FROM asked) x JOIN accounts a USING (account_id)
  LEFT JOIN account_days d ON d.account_id = x.account_id AND d.trade_date = x.trade_date
), money AS (
  SELECT y.account_id, y.trade_date, sum(y.realized + y.unrealized - y.fees) AS pnl,
    min(y.updated_at) FILTER (WHERE y.contracts <> 0 OR y.unrealized <> 0) AS marked_at
  FROM session_days y JOIN days USING (account_id, trade_date) GROUP BY y.account_id, y.trade_date
)
SELECT s.session_id, s.session_type, s.status, s.version, s.epoch, s.started_at, s.holds, s.risk_parameters,
  s.account_id, now() AS now, {_SIMULATED} AS simulated, w.hosted, w.clock_at, w.measures, x.trade_date, d.carried,
  d.latched, d.equity_at_roll, s.config ->> 'calendar' AS calendar, s.config -> 'feed' ->> 'kind' AS feed_kind,
  {FEED_NAME} AS feed_name,
  CASE WHEN NOT g.guarded OR s.config -> 'feed' ->> 'kind' <> 'published' THEN s.config END AS config,
  coalesce(m.pnl, 0) AS pnl, extract(epoch FROM now() - m.marked_at)::float8 AS marked_age_s,
  coalesce(o.realized + o.unrealized - o.fees, 0) AS own_pnl,
  extract(epoch FROM now() - (w.measures ->> 'stored_at')::timestamptz)::float8 AS measured_age_s,
  g.remote, g.guarded, r.state, r.missing_since, r.retry_at, coalesce(r.retries, 0) AS retries,
  coalesce(r.decision_seq, 0) AS decision_seq,
  s.status IN ('suspended', 'error') AND {POSITIONS} > 0 AS holding,
  jsonb_build_object('auto_start_conditions', s.config -> 'auto_start_conditions',
    'auto_stop_conditions', s.config -> 'auto_stop_conditions',
    'auto_pause_conditions', s.config -> 'auto_pause_conditions',
    'auto_resume_conditions', s.config -> 'auto_resume_conditions')::text AS rules
FROM asked x JOIN sessions s USING (session_id) JOIN session_work w USING (session_id)
JOIN days d ON d.account_id = x.account_id AND d.trade_date = x.trade_date
LEFT JOIN money m ON m.account_id = x.account_id AND m.trade_date = x.trade_date
LEFT JOIN session_days o ON o.session_id = x.session_id AND o.trade_date = x.trade_date
LEFT JOIN rule_states r ON r.session_id = x.session_id
LEFT JOIN LATERAL (SELECT array_agg(agent) FILTER (WHERE NOT hosted) AS remote,
  coalesce(bool_or(hosted AND agent = 'RiskManagerAgent'), false) AS guarded
  FROM session_agents WHERE session_id = x.session_id) g ON true
""")


@dataclass(frozen=True, slots=True)
class Situation:
    """All that judging one session's rules needs. rules: the text to compile. config None: agents of ours heed it.

    positions: some are open, as far as is known; the ledger is asked only in SUSPENDED and ERROR.
    """

    facts: Facts
    version: int
    epoch: int
    holds: frozenset[Hold]
    positions: bool
    rules: str
    config: Mapping[str, Any] | None
    risk_parameters: Mapping[str, Any]
    account_id: str
    trade_date: date
    standing: Standing


@dataclass(frozen=True, slots=True)
class Found:
    """What was read of many sessions at one moment, not yet made anything of."""

    desk: Desk
    rows: Mapping[UUID, Row]
    markets: Mapping[str, MarketFacts]
    reports: Mapping[UUID, LiveReport]

    def situation(self, session_id: UUID) -> Situation | None:
        """Return one session's, None where nothing was read of it; raises whatever is wrong with that one alone."""
        row = self.rows.get(session_id)
        return None if row is None else _situation(self, row)


def read_facts(desk: Desk, ids: Sequence[UUID]) -> dict[UUID, Facts]:
    """Return what rules may know of sessions now; unknown ids are left out. Raises Unavailable."""
    return {session_id: one.facts for session_id, one in read_situations(desk, ids).items()}


def read_situations(desk: Desk, ids: Sequence[UUID]) -> dict[UUID, Situation]:
    """Return sessions as their rules are judged; unknown ids are left out. Raises Unavailable."""
    with transaction(desk.engine) as connection:
        moments = rows(connection.execute(_MOMENTS, {"ids": list(ids)}))
    found = read_found(desk, moments)
    return {session_id: _situation(found, row) for session_id, row in found.rows.items()}


def read_found(desk: Desk, moments: Sequence[Row]) -> Found:
    """Return what the stores say of the sessions of `MOMENT_COLUMNS`; one without a known calendar is left out.

    Raises Unavailable.
    """
    dates = {row["session_id"]: day for row in moments if (day := _trade_date(row)) is not None}
    if not dates:
        return Found(desk, {}, {}, {})
    with transaction(desk.engine) as connection:
        read = rows(connection.execute(_READ, {"ids": list(dates), "dates": list(dates.values())}))
    markets = published(desk, {row["feed_name"] for row in read}, moments[0]["now"])
    return Found(desk, {row["session_id"]: row for row in read}, markets, read_reports(desk, read))


def _trade_date(row: Row) -> date | None:
    try:
        return get_calendar(row["calendar"]).trade_date(_now(row))
    except InvalidArgument as error:
        log.warning("session_without_calendar", session_id=str(row["session_id"]), problem=str(error))
        return None


def _now(row: Row) -> datetime:
    """Return the session's clock: Postgres's own for the wall, its last bar where it is simulated and has begun."""
    simulated: bool = row["simulated"] and row["clock_at"] is not None
    now: datetime = row["clock_at"] if simulated else row["now"]
    return now


def _situation(found: Found, row: Row) -> Situation:
    report = found.reports.get(row["session_id"])
    calendar, session = get_calendar(row["calendar"]), session_facts(row, report)
    wall, own = found.markets.get(row["feed_name"]), report.market if report else None
    facts = Facts(
        session_id=row["session_id"],
        now=_now(row),
        status=SessionStatus(row["status"]),
        calendar=calendar,
        extended=row["session_type"] == SessionType.EXTENDED_HOURS,
        started_at=row["started_at"],
        market=market_of(found.desk, row, wall, own),
        session=session,
    )
    return Situation(
        facts,
        row["version"],
        row["epoch"],
        frozenset(map(Hold, row["holds"])),
        bool(row["holding"] or session.position_count),
        row["rules"],
        row["config"],
        row["risk_parameters"],
        row["account_id"],
        row["trade_date"],
        Standing.of(row),
    )
