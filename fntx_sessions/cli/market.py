"""`fntx market show|publish|history`: what is published to each feed, how fresh it is, and a market sent by hand."""

from datetime import UTC, datetime
from json import JSONDecodeError
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import Answer, line
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.output import moment, plain
from fntx_sessions.cli.values import read_json
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.session_config import DEFAULT_FEED

HELP = "Published markets: what each feed says, how fresh it is and by whom, and what is kept of it."
Feed = Annotated[str, typer.Option("--feed", "-f", metavar="NAME", help="Which feed.")]
_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    group = typer.Typer(name="market", help=HELP, no_args_is_help=True)
    for command in (show, publish, history):
        group.command()(command)
    app.add_typer(group)


def show(
    feed: Annotated[str | None, typer.Argument(metavar="[FEED]", help="One feed alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the latest market of each feed: figures, regime, age, publisher, and who trades on it (every role)."""
    found = line().query("market.get", **({} if feed is None else {"feed": feed}))
    if as_json:
        output.emit(found)
        return
    output.table(found["feeds"], FEED_COLUMNS, "no feed")
    if feed is not None and found["feeds"][0]["market"] is not None:
        _show_more(found["feeds"][0])
    _show_counts(found)


def publish(
    feed: Feed = DEFAULT_FEED,
    spy: Annotated[float | None, typer.Option("--spy", help="SPY, dollars.")] = None,
    vix: Annotated[float | None, typer.Option("--vix", help="VIX, points.")] = None,
    previous_close: Annotated[float | None, typer.Option("--previous-close", help="SPY's, dollars.")] = None,
    regime: Annotated[str | None, typer.Option("--regime", help="The desk works it out if not given.")] = None,
    liquidity: Annotated[str | None, typer.Option("--liquidity", help="normal, thin, halted, ...")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="JSON with a whole MarketState instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """Publish a market by hand, dated now if it has no date (operators, administrators, agents)."""
    state = _state(file, spy, vix, previous_close, {"market_regime": regime, "liquidity_status": liquidity})
    done = line().ask("market.publish", {"feed": feed, "state": state}, uuid4())
    if as_json:
        output.emit(done)
    else:
        output.console().print(f"{done['became']} of {done['feed']}: {_told(done['market'])}", soft_wrap=True)


def history(
    feed: Feed = DEFAULT_FEED,
    first: Annotated[datetime | None, typer.Option("--from", formats=_TIMES, help="From when, UTC.")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=_TIMES, help="Until when, UTC.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many, the newest ones.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List what was published to a feed, oldest first (every role)."""
    span = {"first": first, "last": last}
    asked = {name: at.replace(tzinfo=UTC).isoformat() for name, at in span.items() if at is not None}
    found = line().query("market.history", feed=feed, limit=limit, **asked)
    if as_json:
        output.emit(found)
    else:
        output.table(found, HISTORY_COLUMNS, f"nothing is kept of {feed}; `fntx market show` lists the feeds")


def _state(
    file: Path | None, spy: float | None, vix: float | None, close: float | None, words: dict[str, str | None]
) -> Answer:
    """Return the MarketState that the options stand for."""
    if (file is None) == (spy is None):
        raise InvalidArgument("market publish", "takes --spy PRICE or --file FILE", "Give one of the two.")
    given: Answer = {"spy_price": spy} if file is None else _read(file)
    given |= {} if vix is None else {"vix_level": vix}
    given |= {name: word for name, word in words.items() if word is not None}
    if close is not None:
        given["key_levels"] = {**given.get("key_levels", {}), "previous_close": close}
    return {"timestamp": datetime.now(UTC).isoformat()} | given


def _read(file: Path) -> Answer:
    try:
        found = read_json(file.read_text(encoding="utf-8-sig"), "--file", "Write it flatter.")
    except (OSError, UnicodeDecodeError, JSONDecodeError) as error:
        raise InvalidArgument("--file", f"{file} cannot be read as JSON: {error}", "Give a MarketState.") from None
    if not isinstance(found, dict):
        raise InvalidArgument("--file", "holds no JSON object", "Give a MarketState.")
    return found


def _show_more(row: Answer) -> None:
    market, state = row["market"], row["market"]["state"]
    realised = market["realised_volatility"]
    output.console().print()
    output.facts(
        {
            "dated": moment(state["timestamp"]),
            "received": moment(market["received_at"]),
            "derived": ", ".join(market["derived"]) or "nothing",
            "realised volatility": None if realised is None else f"{realised:.1f} % a year",
            "liquidity": plain(state["liquidity_status"]),
            "levels": ", ".join(f"{plain(name)} {level:g}" for name, level in state["key_levels"].items()) or None,
            "kept": f"{moment(row['kept_from'])} to {moment(row['kept_to'])} UTC" if row["kept_to"] else None,
        }
    )


def _show_counts(found: Answer) -> None:
    """Say what did not become the latest market, and feeds that sessions wait for in vain."""
    for row in found["feeds"]:
        if row["market"] is None and row["sessions"]:
            told = f"{row['sessions']} sessions trade on the feed {row['feed']}, and nothing is published to it"
            output.note(f"{told}; publish with the task fntx.market.publish")
    if refused := found["unnamed"].get("refused"):
        output.note(f"{refused} publications were refused that named no feed that can be")


def _told(market: Answer) -> str:
    state = market["state"]
    return f"SPY {state['spy_price']:g}, VIX {_figure(state['vix_level'])}, {_regime({'market': market})}"


def _of(row: Answer, name: str) -> Any:
    return None if row["market"] is None else row["market"]["state"][name]


def _figure(value: float | None) -> str:
    return output.NONE if value is None else f"{value:g}"


def _regime(row: Answer) -> str:
    if row["market"] is None:
        return output.NONE
    derived = " (derived)" if "market_regime" in row["market"]["derived"] else ""
    return plain(_of(row, "market_regime")) + derived


def _age(row: Answer) -> str:
    if row["market"] is None:
        return "[red]never published[/red]"
    told = f"{row['market']['age_s']:.1f} s"
    return f"{told} fresh" if row["market"]["fresh"] else f"[yellow]{told} stale[/yellow]"


def _publisher(market: Answer | None) -> str:
    return output.NONE if market is None else plain(market["publisher"] or "written past the door")


def _count(name: str) -> Any:
    return lambda row: str(row["counts"].get(name, ""))


FEED_COLUMNS = {
    "feed": lambda row: row["feed"],
    "SPY": lambda row: _figure(_of(row, "spy_price")),
    "VIX": lambda row: _figure(_of(row, "vix_level")),
    "regime": _regime,
    "age": _age,
    "by": lambda row: _publisher(row["market"]),
    "sessions": lambda row: str(row["sessions"]),
    "a minute": lambda row: str(row["last_minute"]),
    "late": _count("late"),
    "duplicate": _count("duplicate"),
    "refused": _count("refused"),
}
HISTORY_COLUMNS = {
    "dated (UTC)": lambda row: row["state"]["timestamp"],
    "SPY": lambda row: _figure(row["state"]["spy_price"]),
    "VIX": lambda row: _figure(row["state"]["vix_level"]),
    "regime": lambda row: _regime({"market": row}),
    "liquidity": lambda row: plain(row["state"]["liquidity_status"]),
    "by": _publisher,
    "received (UTC)": lambda row: moment(row["received_at"]),
}
