"""A host whose own clock, or time zone, is wrong steps sessions as any other does."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hosting import Hosting, make_hosting

from fntx_sessions.settings import Settings
from fntx_sessions.state.live import LiveState
from fntx_sessions.trading.market_store import MARKET_KEY

TESTS = Path(__file__).parents[1]
PUBLISHED = {"step_interval_s": 3600, "calendar": "24/7", "feed": {"kind": "published"}}


@pytest.fixture
def hosting(settings: Settings) -> Iterator[Hosting]:
    with make_hosting(settings) as made:
        yield made


def desk_now(hosting):
    return hosting.rows("SELECT clock_timestamp() AS now")[0]["now"]


def publish(hosting, dated):
    state = {
        "timestamp": dated.isoformat(), "spy_price": 270.0, "vix_level": 12.0, "key_levels": {"previous_close": 269.0},
    }  # fmt: skip
    hosting.desk.redis.set(MARKET_KEY, orjson.dumps(state))


def step_on_a_liar(hosting, off_s, zone):
    """Step what is due in a process of its own, its clock `off_s` seconds wrong and its time zone another."""
    settings = hosting.desk.settings
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FNTX_")} | {
        "FNTX_HOME": str(settings.home),
        "FNTX_DATABASE_URL": settings.database_url.get_secret_value(),
        "FNTX_REDIS_URL": settings.redis_url.get_secret_value(),
        "FNTX_KEY_RING": os.environ["FNTX_KEY_RING"],
        "TZ": zone,
    }
    command = [sys.executable, str(TESTS / "lying_host.py"), str(off_s)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


@pytest.mark.parametrize(("off_s", "zone"), [(3600, "Asia/Tokyo"), (-3600, "America/New_York"), (10**8, "UTC")])
def test_a_hosts_wrong_clock_changes_nothing(hosting, off_s, zone):
    """Samples, events and agents carry Postgres's time, and a quote is as old as it is by that."""
    session_id = hosting.started(config=PUBLISHED)
    before = desk_now(hosting)
    publish(hosting, before)
    assert step_on_a_liar(hosting, off_s, zone) == 1
    after = desk_now(hosting)
    [sample] = hosting.rows("SELECT timestamp FROM samples WHERE session_id = :id", id=session_id)
    assert before <= sample["timestamp"] <= after
    parts = LiveState(hosting.desk.redis, hosting.desk.settings).read([session_id])[0].parts
    market, watcher = orjson.loads(parts["market"]), orjson.loads(parts["agent/EnvironmentWatcherAgent"])
    assert market["market_open"]
    assert watcher["internal_state"]["data"] == "fresh"
    assert before <= datetime.fromisoformat(watcher["last_update"]) <= after


def test_a_publishers_wrong_clock_makes_no_market(hosting):
    """What is dated in the future is not fresh to an honest host either."""
    session_id = hosting.started(config=PUBLISHED)
    publish(hosting, desk_now(hosting) + timedelta(hours=1))
    hosting.step()
    parts = LiveState(hosting.desk.redis, hosting.desk.settings).read([session_id])[0].parts
    assert not orjson.loads(parts["market"])["market_open"]
    assert orjson.loads(parts["agent/EnvironmentWatcherAgent"])["internal_state"]["data"] == "stale"
