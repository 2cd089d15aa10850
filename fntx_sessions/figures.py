"""What this desk counts as it works: the figures, their labels and units, and one way to note one.

Whoever does something notes it: ``SAVES.note(12, "saved")``. It goes nowhere unless somebody counts in this process,
which a worker begins as it starts (`monitoring/figures/counting.py`); so nobody here knows of Prometheus. Labels never
hold an id, a name that a caller chose, or anything else without an end. docs/monitoring.md is checked against this.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

# Seconds. A command takes milliseconds, a recovery may take minutes.
QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
SLOW = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
AGES = (1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. buckets: upper bounds of a histogram, in the unit its name ends with; empty: it is a counter.

    known: labels that are shown from the start, at 0. Prometheus sees a rise only from a sample before it, so that the
    first failure of all would pass unseen.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    known: tuple[tuple[str, ...], ...] = ()

    @property
    def exposed(self) -> str:
        """The name under which Prometheus finds it; of a histogram, what `_bucket`, `_sum` and `_count` follow."""
        return self.name if self.buckets else f"{self.name}_total"

    def note(self, amount: float, *labels: str) -> None:
        """Add `amount` to a counter, or to a histogram what was measured; labels in their order. Never raises."""
        if _Counting.by is not None:
            _Counting.by(self, amount, labels)

    @contextmanager
    def timed(self, *labels: str) -> Iterator[None]:
        """Note for how many seconds a block ran, however it ended."""
        began = perf_counter()
        try:
            yield
        finally:
            self.note(perf_counter() - began, *labels)


Counter = Callable[[Figure, float, tuple[str, ...]], None]


class _Counting:
    """Who counts in this process; None: nobody."""

    by: Counter | None = None


def count_with(counter: Counter | None) -> None:
    """Have everything noted from now on counted by `counter`, which must not raise; None: by nobody."""
    _Counting.by = counter


COMMANDS = Figure("fntx_commands", "Commands answered, by how they ended", ("task", "outcome"))
COMMAND_SECONDS = Figure("fntx_command_seconds", "From a command's arrival in a worker to its answer", ("task",), QUICK)
QUERIES = Figure("fntx_queries", "Queries answered, by how they ended", ("task", "outcome"))
QUERY_SECONDS = Figure("fntx_query_seconds", "From a query's arrival in a worker to its answer", ("task",), QUICK)
REFUSALS = Figure(
    "fntx_refusals",
    "Messages refused, by error",
    ("error",),
    known=(("Unauthenticated",), ("Forbidden",), ("UnknownMessage",)),
)
FAILURES = Figure(
    "fntx_failures", "Commands and queries that got no answer of the desk", ("outcome",),
    known=(("unavailable",), ("error",)),
)  # fmt: skip
TRANSITIONS = Figure("fntx_transitions", "Changes of status", ("trigger", "from_status", "to_status"))
SWEEPS = Figure("fntx_sweeps", "Runs of sweeps, by how they ended", ("sweep", "outcome"))
SWEEP_SECONDS = Figure("fntx_sweep_seconds", "How long a run of a sweep took", ("sweep",), QUICK)
RELAYED = Figure("fntx_followups_relayed", "Follow-ups of commands relayed from the outbox")
SAVES = Figure(
    "fntx_saves", "Sessions that were due for a save, by what became of it", ("outcome",),
    known=(("saved",), ("unchanged",), ("skipped",), ("failed",), ("backed_up",)),
)  # fmt: skip
SAVE_BYTES = Figure("fntx_save_bytes", "Sealed bytes of saves, large parts included each time they are named")
SAVE_SECONDS = Figure("fntx_save_batch_seconds", "How long the save of a batch of sessions took", (), QUICK)
CHECKPOINTS = Figure(
    "fntx_checkpoints", "Checkpoints, by why they were due and what became of it", ("type", "outcome"),
    known=(("periodic", "failed"), ("transition", "failed"), ("final", "failed"), ("manual", "failed")),
)  # fmt: skip
CHECKPOINT_BYTES = Figure("fntx_checkpoint_bytes", "Sealed bytes of checkpoints, large parts included")
CHECKPOINT_SECONDS = Figure("fntx_checkpoint_seconds", "How long a checkpoint took, read back included", (), QUICK)
RECOVERIES = Figure(
    "fntx_recoveries", "Attempts to recover a session, by how they ended", ("outcome",),
    known=(("done",), ("refused",), ("failed",), ("overtaken",)),
)  # fmt: skip
RECOVERY_RTO = Figure("fntx_recovery_rto_seconds", "From a recovery's begin to PAUSED", (), SLOW)
RECOVERY_DOWN = Figure(
    "fntx_recovery_down_seconds", "Since the agents were last known to go on, until PAUSED", (), SLOW
)
RECOVERY_RPO = Figure("fntx_recovery_rpo_seconds", "How much of the agents' memory is gone, in time", (), SLOW)
RULES_FIRED = Figure(
    "fntx_rules_fired", "Actions that rules and limits asked for", ("action", "result"),
    known=tuple((one, result) for one in ("start", "stop", "pause", "resume") for result in ("refused", "failed")),
)  # fmt: skip
AGENT_STEPS = Figure("fntx_agent_steps", "Steps of hosted agents, each a heartbeat", ("agent", "outcome"))
HEARTBEAT_AGES = Figure(
    "fntx_agent_heartbeat_age_seconds", "Age of each agent's heartbeat as health looked at it", ("kind",), AGES
)
TIER_SECONDS = Figure("fntx_tier_seconds", "How long a tier took to answer, or to fail", ("tier",), QUICK)
TIER_ERRORS = Figure(
    "fntx_tier_errors", "Times a tier was out of reach", ("tier",),
    known=(("redis",), ("redis_writes",), ("postgres",), ("cold",), ("backup_folder",)),
)  # fmt: skip

FIGURES = tuple(found for found in list(globals().values()) if isinstance(found, Figure))
