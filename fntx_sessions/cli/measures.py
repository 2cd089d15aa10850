"""A session's measures as they are printed: what is not known is `-`, never 0. docs/metrics.md says what each means."""

from collections.abc import Callable
from typing import Any

from fntx_sessions.cli.output import NONE, moment, money, plain
from fntx_sessions.trading.metrics import PAPER_NOTICE

PAPER = "PAPER: no order reaches a market and no money is at stake"
Metrics = dict[str, Any]


def measures(metrics: Metrics) -> dict[str, Any]:
    """Return a session's measures as they are printed."""
    return {
        "broker": _broker(metrics),
        "note": _note(metrics),
        **_results(metrics),
        **_stake(metrics),
        **_work(metrics),
    }


def _broker(metrics: Metrics) -> str:
    return f"[yellow]{PAPER}[/yellow]" if metrics["broker"] == "paper" else plain(metrics["broker"])


def _note(metrics: Metrics) -> str | None:
    notice = metrics.get("notice") or ""
    return f"[yellow]{plain(notice)}[/yellow]" if notice not in ("", PAPER_NOTICE) else None


def _results(metrics: Metrics) -> dict[str, Any]:
    before = f"gross {money(metrics['gross_pnl'])}, fees {plainly(metrics['fees'])}"
    return {
        "net P&L": f"{money(metrics['net_pnl'])} ({before})",
        "max drawdown": money(metrics["max_drawdown"]),
        "trades": _trades(metrics),
        "win rate": _known(metrics["win_rate"], "{:.0%}".format),
        "slippage": f"{plainly(metrics['execution_slippage'])} (inside gross)",
    }


def _trades(metrics: Metrics) -> str:
    if metrics["total_trades"] is None:
        return NONE
    still = f"; {metrics['open_trades']} open" if metrics.get("open_trades") else ""
    return (
        f"{metrics['total_trades']}: {metrics['winning_trades']} won, {metrics['losing_trades']} lost, "
        f"{metrics['scratch_trades']} even{still}"
    )


def _stake(metrics: Metrics) -> dict[str, Any]:
    """Return what is at stake; nothing of it where nothing is held or nobody knows."""
    if not metrics.get("current_exposure"):
        return {}
    marked = f", marked {moment(metrics['marked_at'])}" if metrics["marked_at"] else ""
    source = f" ({metrics['margin_source']})" if metrics["margin_source"] else ""
    down, up = money(metrics["stress_down"]), money(metrics["stress_up"])
    return {
        "exposure": f"{plainly(metrics['current_exposure'])} of short strikes, dollar delta "
        f"{plainly(metrics['dollar_delta'])}{marked}",
        "if SPY jumped": f"{down} on a fall, {up} on a rise",
        "margin": f"{plainly(metrics['margin_used'])}{source}",
    }


def _work(metrics: Metrics) -> dict[str, Any]:
    told = metrics.get("reported_errors")
    return {
        "decision latency": _known(
            metrics["decision_latency_ms"],
            lambda p50: f"{p50:.1f} ms p50, {metrics['decision_latency_p99_ms'] or 0:.1f} ms p99",
        ),
        "error rate": _known(metrics["error_rate"], "{:.1%}".format),
        "errors told": str(told) if told is not None else None,
        "active, paused": f"{metrics['active_duration']:.0f} s, {metrics['pause_duration']:.0f} s",
        "checkpoints": str(metrics["checkpoint_count"]),
    }


def _known(value: float | None, draw: Callable[[float], str]) -> str:
    return NONE if value is None else draw(value)


def plainly(amount: float | None) -> str:
    """Return dollars without a colour: neither a gain nor a loss."""
    return _known(amount, lambda known: f"{'-' if known < 0 else ''}${abs(known):,.2f}")
