"""`fntx demo`: a trading day through the real system, on a stack of its own, every step checked."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Never

import typer

from fntx_sessions import stack as embedded
from fntx_sessions.cli import output
from fntx_sessions.cli.asking import hang_up
from fntx_sessions.cli.demo_checks import Checks, StepFailed
from fntx_sessions.cli.exits import Exit, sentence
from fntx_sessions.exceptions import FntxError
from fntx_sessions.pasting import pasted
from fntx_sessions.settings import get_settings

if TYPE_CHECKING:
    from fntx_sessions.stack import Stack

DATA = Path(__file__).parent / "data" / "spx_vix_daily_2017_2018.csv"
# Short leases, so that a dead worker's sessions are taken over while somebody watches.
SHORT_LEASES = {"FNTX_LEASE_S": "3", "FNTX_LEASE_RENEW_S": "1", "FNTX_LIVENESS_INTERVAL_S": "1"}
# Two weeks of 2018 with the day in their middle that short volatility is remembered for.
FIRST, LAST = datetime(2018, 1, 29, tzinfo=UTC), datetime(2018, 2, 9, tzinfo=UTC)
_DAY = ["%Y-%m-%d"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command()(demo)


def demo(
    first: Annotated[datetime, typer.Option("--from", formats=_DAY, help="First day of the backtest.")] = FIRST,
    last: Annotated[datetime, typer.Option("--to", formats=_DAY, help="Last day of it.")] = LAST,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=50, help="Intraday paths a day.")] = 10,
    out: Annotated[Path, typer.Option("--out", help="Where the P&L picture goes.")] = Path("build/fntx-demo-pnl.png"),
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running for a look around.")] = False,
) -> None:
    """Run a backtest of real days and a paper session that survives a kill -9, check each step, and clean up.

    Exits 0 only if every step did what it says. Uses no network and no data of yours; takes under two minutes.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    checks = Checks()
    home = _own_home()
    try:
        with _stack(home, checks, keep=keep) as stack:
            _act(stack, checks, (first, last), seeds, out)
    except (StepFailed, FntxError) as error:
        _say_what_failed(error, home)
        raise typer.Exit(Exit.UNEXPECTED) from None
    except BaseException:
        _remove(home, keep=keep)
        raise
    _remove(home, keep=keep)


def _act(stack: "Stack", checks: Checks, days: tuple[datetime, datetime], seeds: int, out: Path) -> None:
    from fntx_sessions.cli import demo_report, demo_steps  # noqa: PLC0415 -- matplotlib, and settings come first

    story = demo_steps.play(stack, checks, DATA, days, seeds)
    demo_report.draw(story, out)
    demo_report.show(story, checks, stack.addresses(), out)


def _interrupt(_number: int, _frame: FrameType | None) -> Never:
    raise KeyboardInterrupt


def _own_home() -> Path:
    """Make a folder for this run alone; what the environment says of another stack is not for it."""
    for name in [name for name in os.environ if name.startswith("FNTX_")]:
        del os.environ[name]
    home = Path(tempfile.mkdtemp(prefix="fntx-demo-"))
    home.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return home


@contextmanager
def _stack(home: Path, checks: Checks, *, keep: bool) -> "Iterator[Stack]":
    # What a worker that is killed leaves in its folder for temporary files goes with the rest.
    temporary = home / "tmp"
    temporary.mkdir(mode=0o700)
    stack = embedded.Stack(home, env=SHORT_LEASES | {"TMPDIR": str(temporary)}, say=output.note)
    with checks.step("the stack comes up: Postgres, Valkey, three workers, beat, Flower"):
        stack.up()
    try:
        os.environ.update(stack.environment())
        get_settings.cache_clear()
        yield stack
    except BaseException:
        hang_up()
        stack.down()
        raise
    hang_up()
    if keep:
        own = f"FNTX_HOME={pasted(home)}"
        output.note(f"the stack still runs: {own} fntx status; {own} fntx down ends it")
    else:
        stack.down()


def _say_what_failed(error: Exception, home: Path) -> None:
    output.complain(sentence(error) if isinstance(error, FntxError) else str(error))
    output.note(f"nothing runs any more; the logs are in {home / 'logs'}, the data in {home}")


def _remove(home: Path, *, keep: bool) -> None:
    if not keep:
        shutil.rmtree(home, ignore_errors=True)
