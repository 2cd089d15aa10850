"""`fntx approvals` and `fntx order`: what they print, ask for and exit with."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from hosting import ANN, Hosting, T, make_hosting, shared

from fntx_sessions.cli import approvals as approvals_cli
from fntx_sessions.cli import asking, output
from fntx_sessions.cli import orders as orders_cli
from fntx_sessions.cli.app import run
from fntx_sessions.cli.exits import Exit
from fntx_sessions.exceptions import FntxError
from tasks import approvals, handlers, orders, queries

HANDLERS = {
    "approvals.list": approvals.listed,
    "approvals.approve": approvals.approve,
    "approvals.reject": approvals.reject,
    "orders.list": orders.listed,
    "orders.place": orders.place,
    "orders.change": orders.change,
    "orders.cancel": orders.cancel,
    "sessions.list": queries.list_sessions,
}


class Line(asking.Line):
    """A line that ends at the tasks' own functions in this process."""

    def __init__(self, hosting: Hosting) -> None:
        self.settings = hosting.desk.settings

    def outcome(self, task, arguments, command_id=None):
        answer = self._asked(task, arguments, str(command_id or uuid4()))
        if answer["error"]:
            raise FntxError.from_dict(answer["error"])
        return answer

    def query(self, task, **arguments):
        return self._asked(task, arguments, str(uuid4()))

    def _asked(self, name: str, arguments: dict[str, Any], task_id: str) -> Any:
        handler = handlers.Handler.of(HANDLERS[name])
        sent = json.loads(json.dumps(arguments, default=str))
        return json.loads(orjson.dumps(handler.run(ANN, handler.parse((), sent, task_id, 10**9))))


@pytest.fixture
def hosting(
    tmp_path: Path, module_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        line = Line(made)
        for module in (approvals_cli, orders_cli):
            monkeypatch.setattr(module, "line", lambda: line)
        for module in (approvals, orders, queries):
            monkeypatch.setattr(module, "desk", lambda: made.desk)
        monkeypatch.setattr(output, "PIPE_WIDTH", 300)
        yield made


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    return re.sub(r"[ \n]+", " ", capsys.readouterr().out)


def test_what_waits_is_listed_decided_and_refused_twice(hosting, capsys):
    """Everything to decide by is in one line; decided by its first characters; the second time says who was first."""
    session_id = hosting.started(config={"require_confirmation": True, "approval_drift_max": 10})
    hosting.walk(session_id, lambda _: approvals_cli._listed(session_id, everything=False, limit=1))
    assert run(["approvals", "ls", str(session_id)[:8]]) == Exit.DONE
    printed = shown(capsys)
    for told in (
        "waiting",
        "2018-01-09/sell_put/1",
        "sell 1 put 27",
        "2018-01-09",
        "limit left",
        "+0%, 1000% may be",
        "price now",
    ):
        assert told in printed
    assert run(["approvals", "ls", "--json"]) == Exit.DONE
    [row] = json.loads(capsys.readouterr().out)
    assert run(["approvals", "approve", row["approval_id"][:8], "--reason", "fine", "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["extra"]["approval_state"] == "approved"
    assert run(["approvals", "reject", row["approval_id"]]) == Exit.REFUSED
    assert "decided by ann" in capsys.readouterr().err
    hosting.do(T.PAUSE, session_id)
    assert run(["approvals", "ls"]) == Exit.DONE
    assert "nothing waits for a person" in capsys.readouterr().err
    assert run(["approvals", "ls", "--all"]) == Exit.DONE
    assert "ann: fine; pause by ann" in shown(capsys)
    assert run(["approvals", "approve", "ffff"]) == Exit.NOT_FOUND
    assert run(["approvals", "approve", "me"]) == Exit.USAGE


def test_a_person_orders(hosting, capsys):
    """Placed, changed, cancelled, closed and listed from the command line; what is wrong is named."""
    session_id = str(hosting.started(enabled_strategies=[]))
    hosting.step()
    assert run(["order", "place", session_id, "--leg", "sell:put:273", "--limit", "9", "--json"]) == Exit.DONE
    order = json.loads(capsys.readouterr().out)["extra"]["order_id"]
    hosting.step()
    assert run(["order", "change", order[:8], "--limit", "0.01", "-r", "lower"]) == Exit.DONE
    for _ in range(2):
        hosting.step()
    [holding] = hosting.broker.positions()
    assert run(["order", "close", session_id, holding.trade_id, "--limit", "9"]) == Exit.DONE
    hosting.step()
    assert hosting.broker.positions() == []
    assert run(["order", "place", session_id, "--leg", "sell:put:273", "--limit", "9"]) == Exit.DONE
    capsys.readouterr()
    assert run(["order", "ls", session_id, "--open", "--json"]) == Exit.DONE
    [last] = json.loads(capsys.readouterr().out)
    assert run(["order", "cancel", last["order_id"]]) == Exit.DONE
    assert "is done" in shown(capsys)
    assert run(["order", "ls", session_id]) == Exit.DONE
    printed = shown(capsys)
    for told in ("open 1 x sell put 273", f"close {holding.trade_id}", "change filled", "lower; it filled", "$9.00"):
        assert told in printed
    for wrong in (
        ["--leg", "sell:put"],
        ["--leg", "sell:put:x"],
        ["--leg", "sell:put:1.5"],
        ["--leg", "buy:put:273"],
        [],
    ):
        assert run(["order", "place", session_id, "--limit", "1", *wrong]) == Exit.USAGE
    assert run(["order", "close", session_id, "nothing", "--limit", "1"]) == Exit.USAGE
    assert "is not open" in capsys.readouterr().err
