"""Flattening in the process of whoever asks: no Redis, no worker, and positions are closed, or it says why not."""

from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import orjson
import pytest
from hosting import ANN, DAY, FEED, PUT, Hosting, forget_runtimes, make_hosting, request, shared
from test_halts import halt

from fntx_sessions.agents import host
from fntx_sessions.agents.runtime import MARKET_KEY
from fntx_sessions.automation import flattening, halts
from fntx_sessions.automation.halt_arguments import HaltArguments
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import SessionStatus, Trigger
from fntx_sessions.state.redis_client import build_redis

S, T = SessionStatus, Trigger


@pytest.fixture
def hosting(tmp_path, module_database_url, redis_url):
    """A desk without halts."""
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made
        made.run("UPDATE halts SET released_at = now(), released_by = 'test' WHERE released_at IS NULL")
        made.run("UPDATE sessions SET status = 'error' WHERE status NOT IN ('closed', 'error')")


def without_redis(hosting: Hosting) -> Desk:
    """Return the desk as it is while Redis is away; what this process had warm is gone."""
    forget_runtimes()
    return replace(hosting.desk, redis=build_redis("unix:///nonexistent/redis.sock", hosting.desk.settings))


def flattened(desk: Desk, scope: str, *, live: bool = False):
    """Halt a scope with its positions, straight on Postgres and the broker."""
    placed = halts.halt(desk, ANN, HaltArguments(scope=scope, reason="drill", flatten=True), uuid4(), within_s=30)
    assert placed.left == 0
    return flattening.flatten(desk, ANN, placed.halt.halt_id, live=live, steps=True, within_s=30)


def test_positions_are_closed_without_redis_and_without_a_worker(hosting):
    """The guard closes them on the paper broker and in the ledger; the session closes once Redis is back."""
    session_id = hosting.holding(hosting.started())
    hosting.lose("h1")
    [found] = flattened(without_redis(hosting), f"session:{session_id}")
    assert (found.state, found.positions) == ("flat", 0)
    assert "Redis" in found.why
    assert hosting.broker.positions(session_id) == []
    hosting.check_books(session_id)
    assert hosting.row(session_id)["status"] == S.CLOSING
    hosting.finish()
    assert hosting.row(session_id)["status"] == S.CLOSED
