"""Beat waits for what is due next, and does not spin."""

from celery.schedules import schedule

from tasks.beat import Scheduler
from tasks.celery import app


def test_beat_sleeps_until_a_sweep_is_due():
    """Also for the last milliseconds: it is asked again when the time has come, not over and over before."""
    scheduler = Scheduler(app, lazy=True)
    scheduler.data.clear()
    entry = scheduler.add(name="relay", task="fntx.sweeps.relay", schedule=schedule(1.0))
    left_s = scheduler.is_due(entry).next
    assert 0.9 < left_s <= scheduler.adjust(1.0) == 1.0
