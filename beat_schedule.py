"""Which sweep is sent when, and why. Data only: what is due is decided in Postgres by the sweep itself.

A tick that is missed is not made up for, and a tick sent twice (two beats) is harmless: every sweep brings its part
of the desk up to now. A message expires when the next one comes: what it asks for, that one asks for too. A sweep that
has nothing to do is left out (`tasks/beat.py`).
"""

from dataclasses import dataclass

PREFIX = "fntx.sweeps."


@dataclass(frozen=True)
class Entry:
    """One sweep: its task; its interval and the life of its message, in seconds or as the setting that holds them."""

    task: str
    interval: float | str
    expiry: float | str
    why: str

    @property
    def name(self) -> str:
        """The sweep's name, under which its runs are noted."""
        return self.task.removeprefix(PREFIX)

    def interval_s(self, settings: object) -> float:
        """Return how often it is sent."""
        return _seconds(self.interval, settings)

    def expires_s(self, settings: object) -> float:
        """Return after how long a message that nobody took is thrown away."""
        return _seconds(self.expiry, settings)


def _seconds(value: float | str, settings: object) -> float:
    return float(getattr(settings, value) if isinstance(value, str) else value)


ENTRIES = (
    Entry(
        "fntx.sweeps.relay",
        1.0,
        1.0,
        "what follows a commit and was not relayed at once waits a second, or 10 s after a kill in the middle of it",
    ),
    Entry(
        "fntx.sweeps.step",
        1.0,
        1.0,
        "hosted agents are stepped as their sessions become due, at the earliest each 50 ms",
    ),
    Entry("fntx.sweeps.save", 1.0, 1.0, "sessions choose their save interval, down to 0.5 s; due ones are found here"),
    Entry("fntx.sweeps.pending", 1.0, 1.0, "starts that wait for agents and stops that wait for flat books"),
    Entry("fntx.sweeps.guard", 2.0, 2.0, "exits of open positions go on where no agents worker lives to step them"),
    Entry("fntx.sweeps.checkpoint", 0.5, 0.5, "a transition is kept within a second; those of one share a checkpoint"),
    Entry(
        "fntx.sweeps.liveness", "liveness_interval_s", "liveness_interval_s", "sessions of a dead worker are taken over"
    ),
    Entry(
        "fntx.sweeps.health",
        "health_interval_s",
        "health_interval_s",
        "agents that hang or went silent, saves that stand still: found within a minute, suspended, recovered",
    ),
    Entry("fntx.sweeps.rules", 1.0, 1.0, "rules are due each `rule_interval_s`, and at once after every command"),
    Entry("fntx.sweeps.intake", 1.0, 1.0, "what agents of other services tell counts in metrics and limits soon after"),
    Entry(
        "fntx.sweeps.confirmations",
        10.0,
        10.0,
        "what nobody confirmed in time is over, whoever looks; what a dead worker left of what was confirmed is done",
    ),
    Entry("fntx.sweeps.bulk", 2.0, 2.0, "the next wave of a bulk run, and runs whose asker went away"),
    Entry(
        "fntx.sweeps.memory", 2.0, 2.0, "transitions become memories soon after; what is urgent is in the agents' inbox"
    ),
    Entry("fntx.sweeps.backtest", 2.0, 2.0, "days of a backtest are handed out as workers become free"),
    Entry(
        "fntx.sweeps.retention",
        60.0,
        60.0,
        "checkpoints become too old for Postgres one by one; a minute is soon after 30 days",
    ),
    Entry(
        "fntx.sweeps.erase", 5.0, 5.0, "a shredded session cannot be read any more; what is plain of it goes soon after"
    ),
    Entry("fntx.sweeps.archive", 60.0, 60.0, "nobody waits for the archive of a closed session"),
    Entry(
        "fntx.sweeps.archive_keys",
        5.0,
        5.0,
        "until its key is in the cold store too, a running session's state hangs on Postgres alone",
    ),
    Entry(
        "fntx.sweeps.anchor",
        30.0,
        30.0,
        "due each `audit_anchor_interval_s`; what has no anchor yet, somebody who owns Postgres can cut off",
    ),
    Entry(
        "fntx.sweeps.archive_segments", 60.0, 60.0, "a week becomes old once a week, and is sealed at the mover's pace"
    ),
    Entry(
        "fntx.sweeps.prune_partitions",
        3600.0,
        3600.0,
        "weeks are made four weeks ahead; a start makes them too, for a beat that never lives an hour",
    ),
    Entry("fntx.sweeps.prune_parts", 60.0, 60.0, "a killed saver may leave a large part that nobody names"),
)
