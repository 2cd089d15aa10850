"""What the demo ends with: the facts on a page, and a picture of profit and loss."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: no screen is needed

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter, date2num

from fntx_sessions.cli import backtest_report, output, past, queries
from fntx_sessions.cli.demo_checks import Checks
from fntx_sessions.cli.demo_steps import Story
from fntx_sessions.cli.output import money
from fntx_sessions.stack import Addresses


def show(story: Story, checks: Checks, addresses: Addresses, picture: Path) -> None:
    """Print the report."""
    backtest_report.show(story.report, as_json=False)
    metrics = story.session["metrics"]
    output.console().print("\n[bold]Paper session[/bold]")
    output.table(story.transitions, queries.TRANSITION_COLUMNS, "")
    output.console().print()
    output.table(story.trades, past.TRADE_COLUMNS, "")
    lost = "unknown" if story.lost_s is None else f"{story.lost_s:.1f} s"
    output.facts(
        {
            "sessions": f"{story.sessions}, all audit chains verified",
            "trades": str(len(story.trades) + sum(day["trades"] for day in story.report["days"])),
            "paper P&L": f"{money(metrics['net_pnl'])} after ${metrics['fees']:,.2f} fees",
            "paper drawdown": money(metrics["max_drawdown"]),
            "state lost to kill -9": lost,
            "kill to recovered": f"{story.rto_s:.1f} s",
            "pages were at": addresses.flower,
            "picture": str(picture.resolve()),
            "steps": f"{len(checks.done)} of {len(checks.done)} did what they say,"
            f" in {sum(seconds for _, seconds in checks.done):.0f} s",
        },
        "\n[bold]Demo[/bold]",
    )


def draw(story: Story, out: Path) -> None:
    """Write the picture: the backtest's days with their spread, and the paper session's equity."""
    figure, (days, session) = plt.subplots(2, 1, figsize=(9, 8), layout="constrained")
    _draw_days(story, days)
    _draw_session(story, session)
    figure.text(0.01, -0.02, story.report["label"], fontsize=7, color="gray")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110, bbox_inches="tight")
    plt.close(figure)


def _draw_days(story: Story, axes: Axes) -> None:
    days = story.report["days"]
    labels = [str(day["day"])[5:] for day in days]
    medians = [day["net_pnl"]["median"] for day in days]
    spread = [
        [median - day["net_pnl"]["low"] for day, median in zip(days, medians, strict=True)],
        [day["net_pnl"]["high"] - median for day, median in zip(days, medians, strict=True)],
    ]
    colours = ["tab:red" if median < 0 else "tab:green" for median in medians]
    axes.bar(labels, medians, yerr=spread, color=colours, capsize=4)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_title("Backtest: net P&L a day, median and 5-95 % over the seeds")
    axes.set_ylabel("dollars a contract")


def _draw_session(story: Story, axes: Axes) -> None:
    moments = date2num([at for at, _ in story.curve])  # type: ignore[no-untyped-call]
    axes.step(moments, [value for _, value in story.curve], where="post")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M", tz="America/New_York"))  # type: ignore[no-untyped-call]
    axes.set_title("Paper session: net P&L, unrealised included, on its own clock (New York time)")
    axes.set_ylabel("dollars")
