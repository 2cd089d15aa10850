"""`fntx market`, and the task it asks: what is told of feeds, and that every refused message is counted."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery.backends.base import DisabledBackend
from hosting import Hosting, make_hosting, shared

from fntx_sessions.cli import market as cli
from fntx_sessions.cli import output
from fntx_sessions.cli.app import run
from fntx_sessions.cli.exits import Exit
from fntx_sessions.exceptions import FntxError
from fntx_sessions.security.actor import Actor
from fntx_sessions.settings import get_settings
from fntx_sessions.trading import market_store
from tasks import market as tasks
from tasks.base import FntxTask
from tasks.celery import app


def answer(task: str, **arguments: Any) -> dict[str, Any]:
    """Call a task in place, its arguments as they come over the wire, NaN included."""
    sent = json.loads(json.dumps(arguments, default=str))
    return app.tasks[f"fntx.{task}"].apply(kwargs=sent, task_id=str(uuid4())).result


class Line:
    """A line that ends at the tasks in this process."""

    def ask(self, task, arguments, command_id):
        return self.query(task, **arguments, command_id=command_id)

    def query(self, task, **arguments):
        found = answer(task, **arguments)
        if found["error"]:
            raise FntxError.from_dict(found["error"])
        return json.loads(json.dumps(found["result"], default=str))


@pytest.fixture
def hosting(tmp_path, module_database_url, redis_url, monkeypatch) -> Iterator[Hosting]:
    monkeypatch.setenv("FNTX_HOME", str(tmp_path))
    monkeypatch.setenv("FNTX_AUTH_MODE", "open")
    monkeypatch.setattr(app, "_backend_cache", DisabledBackend(app))
    get_settings.cache_clear()
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        made.run("TRUNCATE market_states")
        monkeypatch.setattr(cli, "line", Line)
        monkeypatch.setattr(tasks, "desk", lambda: made.desk)
        monkeypatch.setattr(output, "PIPE_WIDTH", 240)
        yield made
    get_settings.cache_clear()


def shown(capsys) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_a_market_sent_by_hand_is_shown_and_listed(hosting, tmp_path, capsys):
    """What was sent, by whom, how old, what the desk worked out of it; the JSON has the same."""
    assert run(["market", "publish", "--spy", "450.5", "--vix", "30", "--previous-close", "451"]) == Exit.DONE
    assert "latest of spy: SPY 450.5, VIX 30, high_volatility (derived)" in shown(capsys)
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"spy_price": 400.0, "market_regime": "normal"}))
    assert run(["market", "publish", "--feed", "other", "--file", str(path), "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["market"]["derived"] == []
    assert run(["market", "show"]) == Exit.DONE
    told = shown(capsys)
    assert "spy 450.5 30 high_volatility (derived)" in told
    assert "other 400 - normal" in told
    assert "fresh" in told
    assert run(["market", "show", "spy"]) == Exit.DONE
    assert "derived market_regime" in shown(capsys)
    assert run(["market", "history", "--limit", "5"]) == Exit.DONE
    assert "450.5 30 high_volatility (derived) normal" in shown(capsys)
    assert run(["market", "show", "spy", "--json"]) == Exit.DONE
    [feed] = json.loads(capsys.readouterr().out)["feeds"]
    assert feed["market"]["state"]["key_levels"] == {"previous_close": 451.0}


def test_a_feed_that_sessions_wait_for_is_told(hosting, capsys):
    """Never published, and how many sessions trade on it; a feed nobody knows is not found."""
    hosting.create("regular", config={"feed": {"kind": "published", "name": "waited-for"}})
    assert run(["market", "show"]) == Exit.DONE
    told = capsys.readouterr()
    assert "never published" in told.out
    assert "1 sessions trade on the feed waited-for, and nothing is published to it" in " ".join(told.err.split())
    assert run(["market", "show", "none"]) == Exit.NOT_FOUND


@pytest.mark.parametrize(
    "arguments",
    [["--spy", "-1"], ["--spy", "450", "--feed", "NO"], [], ["--spy", "1", "--file", "x"], ["--file", "missing.json"]],
)
def test_what_cannot_be_published_is_an_invalid_argument(hosting, arguments):
    """The exit code says so; nothing is published."""
    assert run(["market", "publish", *arguments]) == Exit.USAGE
    assert market_store.latest_market(hosting.desk.redis) is None


def test_every_message_the_task_refuses_is_counted(hosting):
    """By feed, whatever it was refused for: NaN on the wire, a field too many, the future, a feed that cannot be."""
    now = datetime.now(UTC)
    state = {"timestamp": now, "spy_price": 450.0}
    for sent in (
        {"state": state | {"spy_price": float("nan")}},
        {"state": state | {"vix_level": float("inf")}},
        {"state": state, "colour": "red"},
        {"state": state | {"timestamp": now + timedelta(hours=1)}},
        {"state": []},
        {},
        {"feed": "../etc", "state": state},
        {"feed": {"a": "\x00"}, "state": state},
    ):
        found = answer("market.publish", **sent)
        assert (found["state"], found["error"]["error"]) == ("refused", "InvalidArgument"), sent
    assert market_store.counts(hosting.desk.redis) == {"spy": {"refused": 6}, "?": {"refused": 2}}
    assert answer("market.publish", state=state)["result"]["became"] == "latest"
    assert answer("market.publish", state=state)["result"]["became"] == "duplicate"
    assert market_store.counts(hosting.desk.redis)["spy"] == {"refused": 6, "duplicate": 1}


def test_a_role_that_may_not_is_refused_and_counted(hosting, monkeypatch):
    """A viewer's token publishes nothing."""
    monkeypatch.setattr(FntxTask, "caller", lambda _: Actor("vera", frozenset({"viewer"})))
    found = answer("market.publish", state={"timestamp": datetime.now(UTC), "spy_price": 450.0})
    assert found["error"]["error"] == "Forbidden"
    assert market_store.counts(hosting.desk.redis) == {"spy": {"refused": 1}}
    assert answer("market.history")["result"] == []
