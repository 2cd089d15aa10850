"""What an opening may lose: the worst of every credit it may bring, and after a fill that of the fill."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import uuid4

import pytest
from trading_harness import Run, flat_path

from fntx_sessions.schemas import RiskParameters
from fntx_sessions.trading.ledger import entry_risk
from fntx_sessions.trading.matching import package_price
from fntx_sessions.trading.opening import at_worst, excess_premium, filled_risks
from fntx_sessions.trading.orders import Contract, Fill, Leg, OrderRequest
from fntx_sessions.trading.rules import DEFAULT_RULES as RULES

DAY = date(2018, 1, 9)
RISK = RiskParameters(stop_loss_multiplier=3)
PUT, WING = Contract("put", Decimal(272), DAY), Contract("put", Decimal(270), DAY)


@pytest.fixture(scope="module")
def board():
    return Run(strategies=[], path=flat_path()).go(bars=7).board


def opening(*legs, limit, risk=Decimal(0)):
    return OrderRequest("d/s/1", "s", "sell", legs, opening=True, limit=limit, risk=risk)


def test_it_is_judged_at_the_worse_of_limit_and_quote(board):
    """Below the bid the bid counts, above it the limit; what it says of itself is a floor."""
    legs = (Leg(PUT, "sell", 2),)
    bid = package_price(legs, board, "sell")
    low, high = (at_worst(opening(*legs, limit=limit), board, RISK, RULES).risk for limit in (Decimal("0.01"), bid + 1))
    assert low == entry_risk(RISK, RULES, legs, bid)
    assert high == entry_risk(RISK, RULES, legs, bid + 1)
    assert at_worst(opening(*legs, limit=bid, risk=Decimal(9999)), board, RISK, RULES).risk == 9999


def test_a_spread_is_judged_at_its_worst_credit(board):
    """Between a low limit and a rich quote a spread may lose more than at either end, as its width caps the stop."""
    rich = replace(board.tick, spot=271.0)
    near = type(board)(rich, RULES)
    legs = (Leg(PUT, "sell", 1), Leg(WING, "buy", 1))
    touch, least = package_price(legs, near, "sell"), Decimal("0.01")
    found = at_worst(opening(*legs, limit=least), near, RISK, RULES).risk
    cents = [Decimal(cent) / 100 for cent in range(1, int(touch * 100) + 1)]
    swept = max(entry_risk(RISK, RULES, legs, credit) for credit in cents)
    assert swept > max(entry_risk(RISK, RULES, legs, credit) for credit in (least, touch))
    assert swept <= found <= swept + 2


def test_without_a_quote_the_limit_counts(board):
    """Nobody quotes the package: its limit is all there is. What buys or closes is left as it is."""
    blind = type(board)(replace(board.tick, vix=None), RULES)
    legs = (Leg(PUT, "sell", 1),)
    request = opening(*legs, limit=Decimal("0.50"))
    assert at_worst(request, blind, RISK, RULES).risk == entry_risk(RISK, RULES, legs, Decimal("0.50"))
    for other in (replace(request, opening=False), replace(request, side="buy")):
        assert at_worst(other, board, RISK, RULES) is other
    assert at_worst(replace(request, limit=None), blind, RISK, RULES).risk == 0


def test_premium_beyond_the_mid_takes_margin():
    """A limit far above the mids: what comes in is owed, dollar for dollar; at or below the mids nothing more is."""
    leg = Leg(PUT, "sell", 3, Decimal("0.20"))
    assert [excess_premium(opening(leg, limit=limit)) for limit in (Decimal("0.10"), Decimal("1.20"), None)] == [
        0,
        300,
        0,
    ]


def test_what_filled_counts_at_its_fills():
    """Legs in several fills are one package; what closes is no opening; each order by its own name."""

    def fill(order, contract, side, quantity, price, *, opening=True):
        return Fill(
            str(uuid4()), uuid4(), "a", 1, order, "d/s/1", DAY, contract, side, quantity, Decimal(price),
            Decimal(0), Decimal(0), opening, "entry", datetime(2018, 1, 9, 15, tzinfo=UTC),
        )  # fmt: skip

    fills = [
        fill("one", PUT, "sell", 1, "0.50"),
        fill("one", PUT, "sell", 1, "0.40"),
        fill("one", WING, "buy", 2, "0.20"),
        fill("two", PUT, "sell", 1, "0.30"),
        fill("three", PUT, "buy", 1, "0.10", opening=False),
    ]
    spread = (Leg(PUT, "sell", 2), Leg(WING, "buy", 2))
    assert filled_risks(fills, RISK, RULES) == {
        "one": entry_risk(RISK, RULES, spread, Decimal("0.25")),
        "two": entry_risk(RISK, RULES, (Leg(PUT, "sell", 1),), Decimal("0.30")),
    }
