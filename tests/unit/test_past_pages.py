"""What `fntx metrics`, `trades` and `history` print: what is not known is a dash, never a zero."""

from decimal import Decimal
from typing import Any

import pytest

from fntx_sessions.cli import past, queries
from fntx_sessions.cli.app import run
from fntx_sessions.cli.measures import measures
from fntx_sessions.schemas import SessionMetrics

ID = "5f3c1e0a-0000-4000-8000-000000000001"


class Line:
    """A line to a desk that notes what it is asked and answers as it was told to."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.asked = answers, []

    def about(self, verb: str, _given: str, **arguments: Any) -> Any:
        self.asked.append((verb, arguments))
        return self.answers[verb]


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    made = Line(trades=[], history={"entries": [], "after": None}, get={"archive": None})
    for module in (past, queries):
        monkeypatch.setattr(module, "line", lambda: made)
    return made


def shown(**known: Any) -> dict[str, str]:
    printed = measures(SessionMetrics(**known).model_dump(mode="json"))
    return {name: text for name, text in printed.items() if text is not None}


def test_what_is_not_known_is_a_dash():
    """Nothing of agents elsewhere is printed as 0."""
    names = ("total_trades", "gross_pnl", "fees", "net_pnl", "max_drawdown", "execution_slippage")
    printed = shown(**dict.fromkeys(names), reported_errors=0)
    assert (printed["net P&L"], printed["trades"]) == ("- (gross -, fees -)", "-")
    assert (printed["max drawdown"], printed["slippage"]) == ("-", "- (inside gross)")
    assert printed["errors told"] == "0"


def test_what_is_at_stake_is_printed_with_whose_margin_it_is():
    """Exposure with delta, stress both ways, and the label of the margin; none of it where nothing is held."""
    printed = shown(
        current_exposure=26_500, dollar_delta="3510", stress_down=-1020, stress_up=60, margin_used=4975,
        margin_source="Reg-T estimate", marked_at="2026-01-05T15:16:00Z", open_trades=1,
    )  # fmt: skip
    assert "$26,500.00 of short strikes, dollar delta $3,510.00, marked 2026-01-05 15:16:00" in printed["exposure"]
    assert printed["margin"] == "$4,975.00 (Reg-T estimate)"
    assert "-$1,020.00" in printed["if SPY jumped"]
    assert printed["trades"].endswith("; 1 open")
    assert not {"exposure", "margin"} & shown(current_exposure=Decimal(0)).keys()


def test_days_are_asked_for_as_they_are_given(line, capsys):
    """`--from` and `--to` are the desk's first and last."""
    assert run(["trades", ID, "--from", "2026-01-05", "--to", "2026-01-06"]) == 0
    assert line.asked[0] == ("trades", {"limit": 100, "first": "2026-01-05", "last": "2026-01-06"})
    assert "no trades" in capsys.readouterr().err
    assert run(["trades", ID, "--from", "yesterday"]) == 2


def test_history_is_printed_with_the_way_on(line, capsys):
    """Entries in words, and the cursor where more follows."""
    entry = {"at": "2026-01-05T15:00:00Z", "kind": "event", "id": "1", "what": "started [bold]", "data": {}}
    line.answers["history"] = {"entries": [entry], "after": "abc"}
    assert run(["history", ID, "-k", "event", "-n", "1"]) == 0
    printed = capsys.readouterr()
    assert "started [bold]" in printed.out
    assert "--after abc" in printed.err
    assert line.asked[0][1] == {"limit": 1, "kinds": ["event"], "after": None, "first": None, "last": None}


def test_a_told_trade_is_printed_with_who_told_it(line, capsys):
    """What its agent did not tell is a dash."""
    told = dict.fromkeys(("closed_at", "packages", "credit", "gross_pnl", "fees", "net_pnl", "exit_reason"))
    line.answers["trades"] = [{**told, "opened_at": "2026-01-05T15:00:00Z", "strategy": "s", "agent": "TheirAgent"}]
    assert run(["trades", ID]) == 0
    assert "TheirAgent" in capsys.readouterr().out
