"""The desk's gauges: what they say, how seldom they ask, and that the page stands when Postgres does not."""

import runpy
from collections.abc import Iterator
from pathlib import Path

import prometheus_client
import pytest
from hosting import Hosting, make_hosting, shared
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event

from fntx_sessions.automation import alerts, sweeps
from fntx_sessions.database.engine import build_engine
from fntx_sessions.monitoring.figures import desk as figures_of
from fntx_sessions.monitoring.figures import looking, showing
from fntx_sessions.schemas import Severity
from fntx_sessions.settings import get_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def hosting(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, database_url, redis_url)) as made:
        yield made


@pytest.fixture
def collector(hosting: Hosting) -> Iterator[figures_of.DeskCollector]:
    settings = hosting.desk.settings
    engine = build_engine(settings.database_url.get_secret_value(), settings)
    yield figures_of.DeskCollector(lambda: engine, settings)
    engine.dispose()


def page(collector: figures_of.DeskCollector) -> dict[tuple[str, ...], float]:
    registry = CollectorRegistry()
    registry.register(collector)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_the_page_says_how_far_behind_the_desk_is(hosting, collector):
    """Beat's lag, each sweep's that has run, overdue sessions by kind, standing alerts."""
    engine = hosting.desk.engine
    sweeps.note_run(engine, "save")
    hosting.run("UPDATE sweep_runs SET last_run = now() - interval '60 s', sent_at = now() - interval '60 s'")
    alerts.raise_alert(engine, "disk", "node", Severity.WARNING, "full")
    session_id = hosting.create()
    hosting.run("UPDATE session_work SET next_save_at = now() - interval '1 h' WHERE session_id = :id", id=session_id)
    found = page(collector)
    assert found[("fntx_desk_readable",)] == 1
    assert found[("fntx_beat_lag_seconds",)] == pytest.approx(60, abs=10)
    assert found[("fntx_sweep_lag_seconds", "save")] == pytest.approx(59, abs=10)
    assert ("fntx_sweep_lag_seconds", "retention") not in found
    assert found[("fntx_sessions_overdue", "saves")] == 1
    assert found[("fntx_sessions_overdue", "rules")] == 0
    assert found[("fntx_alerts", "disk", "warning")] == 1


def test_a_worker_that_was_started_again_is_lost_no_more(hosting, collector):
    """A host is one start of a worker's node; of another node's loss nothing is hidden."""
    lease = (
        "INSERT INTO hosts (host_id, queues, pid, node, lease_until) VALUES (:id, 'agents', 1, :node, now() + :left)"
    )
    for host, left in (("agents@a:1", "-1 min"), ("agents@a:2", "1 min"), ("agents@b:1", "-1 min")):
        hosting.run(lease.replace(":left", f"interval '{left}'"), id=host, node=host[7])
    found = page(collector)
    assert found[("fntx_hosts", "agents", "lost")] == 1
    assert found[("fntx_hosts", "agents", "live")] == 1


def test_how_a_tier_was_found_is_shown_as_long_as_somebody_may_know(hosting, collector):
    """A day where the host's workers live; of a machine that is no more, as of a container made anew, not for long."""
    hosting.run(
        "INSERT INTO hosts (host_id, queues, pid, node, lease_until)"
        " VALUES ('agents@here:1', 'agents', 1, 'here', now() + interval '1 min')"
    )
    hosting.run(
        "INSERT INTO tier_states (host, tier, up, since, seen_at) SELECT host, 'cold', false, now(), now() - age FROM"
        " (VALUES ('here', interval '2 h'), ('gone', interval '2 h'), ('cli', interval '1 min')) t(host, age)"
    )
    shown = {labels[0] for name, *labels in page(collector) if name == "fntx_tier_up"}
    assert shown == {"here", "cli"}


def test_postgres_is_asked_once_in_a_few_seconds(hosting, collector, monkeypatch):
    """However often the page is shown."""
    asked = []
    monkeypatch.setattr(figures_of, "read_standing", lambda _: asked.append(1) or [])
    for _ in range(5):
        page(collector)
    assert len(asked) == 1
    monkeypatch.setattr(looking, "FRESH_S", 0.0)
    page(collector)
    assert len(asked) == 2


def test_the_page_stands_while_postgres_is_away(hosting, monkeypatch):
    """It says so, leaves the desk's gauges out, and asks again no sooner than it would otherwise."""
    asked = []

    def refuse(_dialect, _record, _args, params) -> None:
        asked.append(1)
        params["host"], params["port"] = "127.0.0.1", 1

    engine = build_engine(hosting.desk.settings.database_url.get_secret_value(), hosting.desk.settings)
    event.listen(engine, "do_connect", refuse)
    collector = figures_of.DeskCollector(lambda: engine, hosting.desk.settings)
    for _ in range(3):
        assert page(collector) == {("fntx_desk_readable",): 0}
    assert len(asked) == 1


def test_flower_shows_them(hosting, monkeypatch):
    """`flowerconfig.py`, which every Flower reads, puts them on its page; read again it does so once."""
    registry = CollectorRegistry()
    monkeypatch.setattr(showing.show_desk, "__defaults__", (registry,))
    monkeypatch.setenv("FNTX_DATABASE_URL", hosting.desk.settings.database_url.get_secret_value())
    monkeypatch.setenv("FNTX_HOME", str(hosting.desk.settings.home))
    get_settings.cache_clear()
    try:
        for _ in range(2):
            runpy.run_path(str(ROOT / "flowerconfig.py"))
    finally:
        get_settings.cache_clear()
    assert prometheus_client.generate_latest(registry).count(b"\nfntx_desk_readable ") == 1
    for collector in list(registry._collector_to_names):
        getattr(collector, "close", lambda: None)()
