"""Days of a backtest a second on one worker of agents: the whole day of every agent, stored as any other session."""

import time
from datetime import date
from typing import Any
from uuid import uuid4

from celery import Celery

from benchmarks.desk import ANN, Desk
from benchmarks.report import Result
from fntx_sessions.automation import backtests
from fntx_sessions.automation.backtest_arguments import BacktestArguments
from fntx_sessions.automation.pending import finish_pending
from fntx_sessions.security.actor import system_actor
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.days import Day

FIRST, LAST = date(2018, 1, 2), date(2018, 1, 8)
SEEDS = 10
LONGEST_S = 60.0
PROCESSES = 2


def days(desk: Desk) -> Result:
    """Run some days times seeds to their end, the worker running already; what beat would send is sent here."""
    asked = BacktestArguments(days=_days(), seeds=SEEDS, reason="bench")
    run = backtests.create(desk.engine, ANN, asked, uuid4())
    began = time.perf_counter()
    with Celery("bench", broker=desk.redis_url, set_as_current=False) as sender:
        while not run["finished"] and time.perf_counter() - began < LONGEST_S:
            _beat(desk, sender)
            run = backtests.status(desk.engine, run["run_id"])
    done = run["counts"]["done"]
    if run["counts"]["failed"] or not done:
        raise RuntimeError(run["counts"])
    return Result("backtest days, one agents worker -c 2", "/s", done / (time.perf_counter() - began))


def _beat(desk: Desk, sender: Celery) -> None:
    for _ in range(PROCESSES):
        sender.send_task("fntx.sweeps.step", queue="agents", headers={"fntx_token": desk.token}, expires=1.0)
    time.sleep(0.25)
    backtests.advance(desk.tools)
    finish_pending(desk.tools, system_actor("bench"))


def _days() -> list[dict[str, Any]]:
    dates = get_calendar("XNYS").trading_days(FIRST, LAST)
    return [
        Day(day, 2700.0 + number, 2715.0 + number, 2690.0 + number, 2705.0 + number, 12.0).to_json()
        for number, day in enumerate(dates)
    ]
