"""Every measurement in turn on one desk, then the table and build/bench.json."""

import time
from pathlib import Path

from benchmarks import backtest, checkpoints, commands, recoveries, rules, saves, scale, transitions
from benchmarks.desk import own_desk
from benchmarks.report import Result, show, store

RESULTS = Path("build/bench.json")


def main() -> None:
    """Run all benchmarks; a ratio that misses its budget is said, not raised."""
    began = time.monotonic()
    results: list[Result] = []
    with own_desk() as desk:
        sessions = desk.active_sessions(commands.SESSIONS)
        say(f"{len(sessions)} sessions made")
        with desk.worker("commands", "-Q", "commands,queries,celery", "-c", "2", app="benchmarks.noop_app") as took:
            results.append(Result("worker ready", "s", took))
            results += commands.throughput(desk, sessions)
            results.append(commands.latency(desk, sessions[0]))
        say("commands measured")
        results.append(transitions.transitions(desk, sessions))
        say("transitions measured")
        results += recoveries.recoveries(desk, sessions)
        say("recoveries measured")
        with desk.worker("agents", "-Q", "agents", "-c", str(backtest.PROCESSES)):
            results.append(backtest.days(desk))
        say("backtest measured")
        results += saves.saves(desk)
        say("saves measured")
        results += checkpoints.checkpoints(desk)
        say("checkpoints measured")
        results += scale.scale(desk)
        say("scale measured")
        results += rules.rules(desk)
    show(results)
    store(results, RESULTS)
    say(f"{time.monotonic() - began:.0f} s; {RESULTS} has the figures")


def say(line: str) -> None:
    """Print progress."""
    print(line, flush=True)
