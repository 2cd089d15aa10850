"""The board with 1,000 and 10,000 sessions: `python -m benchmarks.board`.

Reading a page, drawing it, the first paint in a real browser, the bytes of it, and what one live page costs.
"""

import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import uuid4

import psutil
from playwright.sync_api import Page, sync_playwright
from sqlalchemy import text

from benchmarks.desk import ANN, Desk, own_desk, wait
from fntx_sessions.lifecycle import execute
from fntx_sessions.lifecycle.arguments import CreateArguments
from fntx_sessions.lifecycle.reads.board import BoardQuery, read_board
from fntx_sessions.lifecycle.reads.board_sql import SORTS
from fntx_sessions.schemas import SessionType
from fntx_sessions.trading.calendars import get_calendar

SIZES = (1_000, 10_000)
ROUNDS = 15
LIVE_S = 10.0
_RULES = {
    "auto_stop_conditions": [
        {"condition": "daily_loss_exceeded", "value": True},
        {"condition": "drawdown_above", "value": 900},
        {"condition": "market_close", "value": True},
    ],
    "auto_pause_conditions": [{"condition": "vix_above", "value": 30, "for_s": 60}],
}
# Sessions as a day leaves them, made after one that was made as all are: two in a hundred in trouble, the rest at work.
_FILL = """
CREATE TEMP TABLE made AS SELECT gen_random_uuid() AS id, n, CASE n % 100 WHEN 0 THEN 'error' WHEN 1 THEN 'suspended'
  WHEN 2 THEN 'closing' WHEN 3 THEN 'paused' WHEN 4 THEN 'initializing' ELSE 'active' END AS status
  FROM generate_series(1, {count}) AS n;
INSERT INTO accounts (account_id, equity) SELECT 'bench:' || id, 100000 FROM made;
SET session_replication_role = replica;
INSERT INTO sessions (session_id, session_type, status, version, epoch, account_id, exclusive_account, broker,
    template_name, config, risk_parameters, roster, started_at, status_since, status_actor, status_reason, holds)
  SELECT id, s.session_type, made.status, 3, 1, 'bench:' || id, true, 'paper', s.template_name, s.config,
    s.risk_parameters, s.roster, CASE WHEN made.status <> 'initializing' THEN now() - interval '1 hour' END,
    now() - n * interval '1 second', 'rules@host', 'VIX 31.2 >= 30, quote 4 s old',
    CASE made.status WHEN 'paused' THEN ARRAY['person'] ELSE '{{}}' END
  FROM made, sessions s WHERE s.session_id = '{like}';
INSERT INTO session_work (session_id, status, epoch, session_type, save_interval_s, checkpoint_interval_s,
    step_interval_s, hosted, last_saved_at, next_save_at, measures)
  SELECT id, status, 1, 'regular', 5, 900, 1, true, now(), now() + interval '1 day', jsonb_build_object(
    'at', now(), 'stored_at', now() + interval '1 day', 'daily_pnl', (n % 700 - 400)::text, 'loss_limit', '1000.00',
    'latched', false, 'peak', '120.50', 'drawdown', (-(n % 500))::text, 'position_count', n % 4, 'error_rate', 0.01,
    'decision_latency_ms', 12.5, 'net_pnl', (n % 700 - 400)::text, 'memory_mb', 210.5, 'marks', '{{}}'::jsonb)
  FROM made;
INSERT INTO session_agents (session_id, agent, ready_at) SELECT id, a.agent, now() FROM made, session_agents a
  WHERE a.session_id = '{like}';
INSERT INTO session_days (session_id, trade_date, account_id, realized, unrealized, fees, contracts, updated_at)
  SELECT id, CAST('{day}' AS date), 'bench:' || id, n % 700 - 400, 0, 1.36, n % 4, now() + interval '1 day' FROM made;
INSERT INTO checkpoints (checkpoint_id, session_id, epoch, revision, timestamp, checkpoint_type, manifest, checksum,
    identity, size_bytes, verified)
  SELECT gen_random_uuid(), id, 1, k, now() - k * interval '15 minutes', 'periodic', '\\x00', '\\x00', 'i', 4000, true
  FROM made, generate_series(1, 3) AS k;
INSERT INTO rule_decisions (session_id, seq, status, why, truths)
  SELECT id, k, status, 'goes on: daily loss $12.00 < $1,000.00', jsonb_build_object('stop', jsonb_build_array(
    jsonb_build_object('path', 'stop.0', 'condition', 'daily_loss_exceeded', 'value', 12, 'limit', 1000, 'holds', false,
      'met', false, 'since', NULL, 'age_s', 0.5, 'why', 'daily loss $12.00 < $1,000.00', 'children', '[]'::jsonb)))
  FROM made, generate_series(1, 5) AS k;
INSERT INTO session_health (session_id, grade) SELECT id, CASE n % 50 WHEN 7 THEN 'degraded' ELSE 'ok' END FROM made;
SET session_replication_role = origin;
DROP TABLE made;
ANALYZE;
"""


def fill(desk: Desk, count: int) -> None:
    """Add sessions until there are `count`, all of them as rows that look like those of a day at work."""
    with desk.engine.connect() as connection:
        held = int(connection.execute(text("SELECT count(*) FROM sessions")).scalar_one())
    like = uuid4()
    asked = CreateArguments(session_type=SessionType.REGULAR, session_id=like, config=_RULES)
    execute.create(desk.tools, ANN, asked, uuid4()).raise_for_refusal()
    day = get_calendar().trade_date(datetime.now(UTC))
    with desk.engine.begin() as connection:
        connection.exec_driver_sql(_FILL.format(count=count - held - 1, like=like, day=day).replace("%", "%%"))


def measured(run: Callable[[], object]) -> str:
    """Return the median and the worst of some rounds, as milliseconds."""
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run()
        taken.append((time.perf_counter() - began) * 1000)
    return f"{statistics.median(taken):.0f} ms, worst {max(taken):.0f}"


@contextmanager
def flower(desk: Desk) -> Iterator[tuple[str, int]]:
    """Run Flower as an operator would; yields its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    told = desk.environment() | {"FNTX_FLOWER_PORT": str(port)}
    log = desk.folder.logs / "flower.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "tasks", "flower"],
            env=told, cwd=Path(__file__).parents[1], stdout=output, stderr=output,
        )  # fmt: skip
    try:
        wait(lambda: _answers(port) or process.poll() is not None, f"Flower, see {log.read_text()[-2000:]}")
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(timeout=20)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def logged_in(desk: Desk, url: str) -> Iterator[Page]:
    """Yield a real browser's page that has logged in."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = found.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{url}/sessions")
        page.get_by_label("Your token").fill(desk.token)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{url}/sessions")
        yield page
        found.close()


_PAINTED = "performance.getEntriesByName('first-contentful-paint').length > 0"
_PAINT = """() => ({
  paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
  bytes: performance.getEntriesByType("navigation")[0].transferSize,
  whole: performance.getEntriesByType("navigation")[0].decodedBodySize,
  loaded: performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd,
})"""


def first_paint(page: Page, url: str, query: str) -> str:
    """Return when the board is painted first and whole, and its bytes, over some visits."""
    seen = []
    for _ in range(ROUNDS):
        page.goto("about:blank")
        page.goto(f"{url}/sessions{query}", wait_until="domcontentloaded")
        wait(lambda: page.evaluate(_PAINTED), "the first paint")
        seen.append(page.evaluate(_PAINT))
    paint = statistics.median(one["paint"] for one in seen)
    worst = max(one["paint"] for one in seen)
    return f"{paint:.0f} ms, worst {worst:.0f}; {seen[0]['bytes']:,} bytes sent, {seen[0]['whole']:,} of HTML"


def live_cost(desk: Desk, page: Page, url: str, pid: int) -> str:
    """Return the processor time a second of one live page, with one session in a hundred saved each second."""
    page.goto(f"{url}/sessions")
    page.wait_for_selector("#board-rows tr")
    began, used = time.monotonic(), _used(desk, pid)
    while time.monotonic() - began < LIVE_S:
        with desk.engine.begin() as connection:
            connection.execute(_SAVED)
        time.sleep(1.0)
    seconds = time.monotonic() - began
    flowers, stores = (after - before for after, before in zip(_used(desk, pid), used, strict=True))
    page.goto("about:blank")
    told = f"Flower {flowers / seconds * 1000:.0f} ms, Postgres {stores / seconds * 1000:.0f} ms"
    return f"{told} of a processor each second"


_BACKENDS = text("SELECT pid FROM pg_stat_activity WHERE application_name = 'fntx pages'")
_SAVED = text(
    "UPDATE session_work SET last_saved_at = now() WHERE session_id IN ("
    "SELECT session_id FROM session_work ORDER BY random() LIMIT (SELECT count(*) / 100 FROM session_work))"
)


def _used(desk: Desk, flower_pid: int) -> tuple[float, float]:
    with desk.engine.connect() as connection:
        backends = connection.execute(_BACKENDS).scalars().all()
    return _processor_s(psutil.Process(flower_pid)), sum(_processor_s(psutil.Process(pid)) for pid in backends)


def _processor_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Print it all."""
    with own_desk() as desk, flower(desk) as (url, pid), logged_in(desk, url) as page:
        for count in SIZES:
            fill(desk, count)
            print(f"{count:,} sessions")
            for sort in SORTS:
                print(f"  read 100 by {sort}: {measured(partial(read_board, desk.tools, BoardQuery(sort=sort)))}")
            last = BoardQuery(page=count // 100)
            print(f"  read the last 100: {measured(partial(read_board, desk.tools, last))}")
            print(f"  first paint, 100 rows: {first_paint(page, url, '')}")
            print(f"  first paint, 1,000 rows: {first_paint(page, url, '?rows=1000')}")
            print(f"  one live page: {live_cost(desk, page, url, pid)}")


if __name__ == "__main__":
    main()
