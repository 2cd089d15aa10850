"""Which rule would act next: of a row and what is known of its session, without a store."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest

from fntx_sessions.automation.rules.compile import as_text
from fntx_sessions.automation.rules.model import SessionFacts
from fntx_sessions.lifecycle.reads.board_next import NextRule, Standing, next_rule
from fntx_sessions.schemas import SessionStatus
from fntx_sessions.trading.calendars import get_calendar

S = SessionStatus
NOON = datetime(2018, 1, 9, 17, 0, tzinfo=UTC)  # in New York
LOSS = {"condition": "daily_loss_exceeded", "value": True}
VIX = {"condition": "vix_above", "value": 30, "for_s": 60}
CLOSING = {"condition": "minutes_to_close_below", "value": 15}
FACTS = SessionFacts(age_s=0.0, daily_pnl=Decimal(-250), loss_limit=Decimal(1000), drawdown=Decimal(-300))


def found(
    status: S = S.ACTIVE,
    facts: SessionFacts | None = FACTS,
    *,
    now: datetime = NOON,
    truths: dict[str, tuple[bool | None, bool]] | None = None,
    row: dict[str, Any] | None = None,
    **rules: list[dict[str, Any]],
) -> NextRule:
    """Return the next rule of a session. truths: by path, whether it held at the last decision, and was met."""
    listed = [{"path": path, "holds": holds, "met": met} for path, (holds, met) in (truths or {}).items()]
    given = {
        "status": status, "pending": None, "holds": [], "halts": [], "session_type": "regular",
        "decision": {"status": status, "truths": {"any": listed}},
        "rules": as_text({f"auto_{name}_conditions": rule for name, rule in rules.items()}),
    }  # fmt: skip
    return next_rule(Standing(given | (row or {}), get_calendar(), now, facts))


def test_the_nearest_rule_is_named() -> None:
    """By what is known now: a quarter of the loss limit is used, and a fifth of the drawdown."""
    rule = found(stop=[LOSS, {"condition": "drawdown_above", "value": 1500}], pause=[VIX])
    assert (rule.action, rule.what, rule.stands, rule.share) == ("stop", "daily loss limit reached", "unknown", 0.25)


def test_a_rule_that_holds_already_is_nearer_than_any_other() -> None:
    """It waits for its time to be over, or was asked for."""
    waits = found(stop=[LOSS], pause=[VIX], truths={"pause.0": (True, False), "stop.0": (False, False)})
    assert (waits.action, waits.what, waits.stands) == ("pause", "VIX > 30 for 60 s", "waits")
    met = found(stop=[LOSS], pause=[VIX], truths={"pause.0": (True, False), "stop.0": (True, True)})
    assert (met.action, met.stands) == ("stop", "met")


def test_a_rule_of_the_clock_says_when() -> None:
    """A quarter of an hour before the close, which two minutes before is nearer than a loss of a quarter."""
    near = datetime(2018, 1, 9, 20, 43, tzinfo=UTC)
    rule = found(stop=[LOSS, CLOSING], now=near)
    assert (rule.what, rule.at) == ("minutes to the close < 15", datetime(2018, 1, 9, 20, 45, tzinfo=UTC))
    assert found(stop=[LOSS], pause=[{"condition": "time_after", "value": "15:58:00"}], now=near).at == datetime(
        2018, 1, 9, 20, 58, tzinfo=UTC
    )


def test_a_start_names_what_it_waits_for() -> None:
    """Of several, the first, and how many more; all of them came true: it is met."""
    rules = [{"condition": "market_open", "value": True}, {"condition": "vix_below", "value": 20}, LOSS]
    waiting = found(S.INITIALIZING, start=rules, truths={"start.0": (True, True), "start.1": (False, False)})
    assert (waiting.action, waiting.what, waiting.stands) == ("start", "VIX < 20 and 1 more", "unmet")
    truths = {f"start.{number}": (True, True) for number in range(3)}
    assert found(S.INITIALIZING, start=rules, truths=truths).stands == "met"


@pytest.mark.parametrize(
    ("status", "row", "told"),
    [
        (S.INITIALIZING, {}, "a person starts it"),
        (S.PAUSED, {"holds": ["person"]}, "held by person"),
        (S.ERROR, {}, "a person recovers it"),
        (S.CLOSED, {}, "closed"),
        (S.ACTIVE, {}, "no stop or pause rules"),
        (S.CLOSING, {"pending": {"trigger": "stop_session"}}, "waits for its stop to be finished"),
    ],
)
def test_where_nothing_would_act_it_says_why(status: S, row: dict[str, Any], told: str) -> None:
    """In a few words."""
    rule = found(status, row=row)
    assert (rule.action, rule.what) == (None, told)


def test_a_pause_that_a_rule_made_is_lifted_by_rules_unless_a_halt_stands() -> None:
    """And a stop that holds comes first."""
    resume = [{"condition": "vix_below", "value": 20}]
    asked: dict[str, Any] = {"resume": resume, "stop": [LOSS]}
    paused = found(S.PAUSED, row={"holds": ["rule"]}, **asked)
    assert (paused.action, paused.what) == ("resume", "VIX < 20")
    assert found(S.PAUSED, row={"holds": ["rule"], "halts": [{}]}, **asked).what == "a halt stands"
    stopping = found(S.PAUSED, row={"holds": ["rule"]}, truths={"stop.0": (True, True)}, **asked)
    assert stopping.action == "stop"


def test_what_a_decision_of_another_status_found_does_not_count() -> None:
    """Nor do broken rules, groups and conditions of nobody's keep the row from being drawn."""
    rules = [{"any_of": [LOSS, CLOSING]}, {"condition": "gone_plug_in", "value": {"a": 1}}, "nonsense"]
    stored = {"decision": {"status": "paused", "truths": {"stop": [{"path": "stop.0", "holds": True, "met": True}]}}}
    rule = found(stop=[rules[0]], row=stored)
    assert (rule.action, rule.stands) == ("stop", "unknown")
    broken = {"rules": orjson.dumps({"auto_stop_conditions": rules[1:]}).decode()}
    assert found(row=broken).action == "stop"
    assert found(facts=None, row=broken, now=NOON).share is None
