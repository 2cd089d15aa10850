"""Celery's settings, as the desk relies on them."""

from datetime import UTC, datetime

import pytest

import beat_schedule
from fntx_sessions.automation import resting
from fntx_sessions.exceptions import Unavailable
from fntx_sessions.settings import Settings, get_settings
from tasks import app, base, kombu_patch, routes
from tasks.configuration import celery_settings, transport_options
from tasks.sent_at import SENT_AT_HEADER, moment_of

URL = "redis://:secret@127.0.0.1:1/0"

RELIED_ON = {
    # Redelivery after a kill, and an end to what kills.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_retry_on_worker_lost": True,
    "task_acks_on_failure": True,
    "task_acks_on_timeout": True,
    "worker_prefetch_multiplier": 1,
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    "worker_pool": "prefork",
    "broker_connection_max_retries": None,
    # Only JSON is read.
    "accept_content": ["json"],
    "result_accept_content": ["json"],
    "task_serializer": "json",
    "result_serializer": "json",
    # Nothing piles up.
    "task_create_missing_queues": False,
    "task_ignore_result": True,
    "result_expires": 3600,
    "task_send_sent_event": False,
    "timezone": "UTC",
    "enable_utc": True,
    "worker_enable_remote_control": True,
    "beat_scheduler": "tasks.beat:Scheduler",
    "beat_max_loop_interval": 1,
}


@pytest.fixture
def no_redis(monkeypatch, tmp_path):
    """Give the process settings without any address."""
    monkeypatch.setenv("FNTX_HOME", str(tmp_path))
    monkeypatch.delenv("FNTX_REDIS_URL", raising=False)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.mark.parametrize("name", RELIED_ON)
def test_the_settings_others_rely_on(name):
    """Each of these has a failure behind it; changing one is a decision, see docs/decisions."""
    assert celery_settings(Settings(redis_url=URL))[name] == RELIED_ON[name]


def test_broker_and_results_are_the_one_redis():
    """Both addresses are FNTX_REDIS_URL, a socket's included."""
    for given, expected in ((URL, URL), ("unix:///run/v.sock?db=1", "redis+socket:///run/v.sock?db=1")):
        found = celery_settings(Settings(redis_url=given))
        assert (found["broker_url"], found["result_backend"]) == (expected, expected)


@pytest.mark.parametrize("queues", [[], ["commands", "queries"], ["agents"], ["sweeps"], ["checkpoints"]])
def test_no_wait_on_the_broker_is_unbounded(queues):
    """A frozen or half-open Redis is noticed in seconds by producers and workers alike."""
    options = transport_options(Settings(redis_url=URL), queues)
    assert 0 < options["socket_timeout"] <= 5
    assert 0 < options["socket_connect_timeout"] <= 2
    assert options["socket_keepalive"]
    assert options["health_check_interval"] == 10
    assert isinstance(options["visibility_timeout"], int)


def test_workers_of_slow_queues_keep_their_unacknowledged_messages_apart():
    """Else the shortest visibility timeout would give a long checkpoint to a second worker while the first runs it."""
    settings = Settings(redis_url=URL)
    quick = transport_options(settings, ["commands", "queries"])
    slow = transport_options(settings, ["sweeps", "checkpoints", "maintenance"])
    assert (quick["visibility_timeout"], slow["visibility_timeout"]) == (60, 3600)
    assert {key for key in slow if key.startswith("unacked_") and slow[key] != quick.get(key)} == {
        "unacked_key",
        "unacked_index_key",
        "unacked_mutex_key",
    }


@pytest.mark.parametrize("queue", [queue for queue in routes.QUEUES if queue != routes.UNNAMED])
def test_a_task_ends_long_before_its_message_is_given_to_another(queue):
    """Hard limit <= half the visibility timeout of whoever reads the queue; the soft one comes first."""
    name = {"agents": "fntx.sweeps.step", "queries": "fntx.sessions.get", "commands": "fntx.sessions.start"}.get(queue)
    name = name or {
        "sweeps": "fntx.sweeps.save",
        "checkpoints": "fntx.sweeps.checkpoint",
        "safety": "fntx.sessions.stop",
    }.get(queue)
    name = name or "fntx.sweeps.prune"
    assert routes.queue_for(name) == queue
    task = type("T", (base.FntxTask,), {"name": name})()
    limit_s = transport_options(Settings(), [queue])["visibility_timeout"] / 2
    assert 0 < task.soft_time_limit < task.time_limit <= limit_s


@pytest.mark.parametrize(
    ("name", "queue"),
    [
        ("fntx.sessions.stop", "safety"),
        ("fntx.sessions.resume", "commands"),
        ("fntx.sessions.create_from_template", "commands"),
        *((f"fntx.sessions.{verb}", "queries") for verb in ("get", "list", "metrics", "events", "transitions")),
        ("fntx.sessions.trades", "queries"),
        ("fntx.sessions.checkpoints", "queries"),
        ("fntx.sweeps.step", "agents"),
        ("fntx.sweeps.relay", "sweeps"),
        ("fntx.sweeps.liveness", "sweeps"),
        ("fntx.sweeps.checkpoint", "checkpoints"),
        ("fntx.sweeps.retention", "maintenance"),
        ("fntx.sweeps.prune_events", "maintenance"),
        ("fntx.backtests.run", "commands"),
    ],
)
def test_a_name_knows_its_queue(name, queue):
    """Routing is by name alone, so that whoever sends and whoever works agree."""
    assert routes.route_task(name, (), {}, {}) == {"queue": queue}


def test_beat_never_piles_up():
    """No message lives longer than until the next one asks for the same, and every entry says why it is there."""
    entries = celery_settings(Settings(redis_url=URL, liveness_interval_s=2.5))["beat_schedule"]
    assert all(0 < entry["options"]["expires"] <= entry["schedule"] for entry in entries.values())
    assert entries["fntx.sweeps.liveness"]["schedule"] == 2.5
    assert all(entry.why for entry in beat_schedule.ENTRIES)
    assert len(entries) == len(beat_schedule.ENTRIES)


@pytest.mark.parametrize(
    ("said", "moment"),
    [
        ("2026-11-23T10:00:00+00:00", datetime(2026, 11, 23, 10, tzinfo=UTC)),
        *((said, None) for said in ("2026-11-23T10:00:00", "soon", "", 7, None, {"a": 1})),
    ],
)
def test_when_a_message_was_sent_is_believed_where_it_is_a_time(said, moment):
    """Whoever can send can write anything into a header: what is no aware time is none."""
    assert moment_of({SENT_AT_HEADER: said}) == moment
    assert moment_of(None) is None


def test_a_transition_is_kept_within_a_second():
    """Beat learns in time that the checkpoint it made due is there to be taken, and sends the sweep that takes it."""
    entries = celery_settings(Settings(redis_url=URL))["beat_schedule"]
    assert resting.LOOK_S + entries["fntx.sweeps.checkpoint"]["schedule"] < 1.0


def test_every_scheduled_sweep_exists():
    """Beat sends no task that no worker knows."""
    app.loader.import_default_modules()
    assert {entry.task for entry in beat_schedule.ENTRIES} <= set(app.tasks)


def test_without_redis_the_app_says_so(no_redis):
    """No address: importing works, using it names what is missing and how to get it; no AMQP server is tried."""
    lonely = type(app)("lonely", set_as_current=False)
    lonely.add_defaults(lambda: celery_settings(get_settings()))
    for use in (lambda: lonely.send_task("fntx.sessions.get"), lambda: lonely.AsyncResult("x").get(timeout=1)):
        with pytest.raises(Unavailable, match="FNTX_REDIS_URL"):
            use()


def test_the_mend_is_for_the_kombu_that_needs_it():
    """It is on for 5.7.0, applied once, and leaves other versions alone."""
    assert kombu_patch.apply("5.7.0")
    first = kombu_patch.Channel._connparams
    assert kombu_patch.apply("5.7.0")
    assert kombu_patch.Channel._connparams is first
    assert not kombu_patch.apply("5.7.1")
