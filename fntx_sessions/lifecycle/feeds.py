"""Whether a session can run on the feed of its config."""

from datetime import date
from typing import Any

from sqlalchemy import Connection

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import FeedConfig, SessionConfig, SessionType
from fntx_sessions.trading.calendars import Calendar, get_calendar
from fntx_sessions.trading.days import day_from_json
from fntx_sessions.trading.market_history import must_be_recorded

_PLAYED = frozenset({SessionType.PAPER_TRADING, SessionType.BACKTEST})


def check_feed(session_type: SessionType, config: dict[str, Any], *, whole: bool = True) -> None:
    """Raise InvalidArgument where a session of this type cannot run on its config's feed.

    whole False: it is a template's, whose days come with each session.
    """
    feed = config["feed"]
    if config["calendar"] != SessionConfig.model_fields["calendar"].default:
        _calendar(config["calendar"])
    if feed["trade_date"] is not None:
        _check_trading_day(feed["trade_date"], "config.feed.trade_date", config["calendar"])
    if feed["kind"] == "replayed":
        _check_days(feed, config["calendar"], whole=whole)
    if session_type is SessionType.BACKTEST and feed["kind"] == "published":
        problem = "a backtest runs on a replayed, recorded or synthetic feed"
        raise InvalidArgument("config.feed.kind", problem, "Choose one.")
    if feed["kind"] == "recorded":
        _check_recorded(session_type, feed, whole=whole)


def unrecorded(connection: Connection, config: dict[str, Any]) -> InvalidArgument | None:
    """Return why a recorded feed cannot be played: nothing of its day is kept; None: it can be, or it is another."""
    feed = FeedConfig.model_validate(config["feed"])
    if feed.kind != "recorded":
        return None
    try:
        must_be_recorded(connection, feed, _calendar(config["calendar"]))
    except InvalidArgument as error:
        return InvalidArgument(f"config.{error.args[0]}", *error.args[1:])
    return None


def _check_recorded(session_type: SessionType, feed: dict[str, Any], *, whole: bool) -> None:
    if session_type not in _PLAYED:
        problem = "a recorded day is played in Paper and Backtest sessions"
        raise InvalidArgument("config.feed.kind", problem, "Choose another kind, or another type of session.")
    if whole and feed["trade_date"] is None:
        raise InvalidArgument("config.feed.trade_date", "is missing: a recorded feed plays one day", "Name the day.")


def _check_days(feed: dict[str, Any], calendar: str, *, whole: bool) -> None:
    for name in ("day", "previous"):
        if feed[name] is None and whole:
            raise InvalidArgument(
                f"config.feed.{name}", "is missing: a replayed feed needs its day and the day before it",
                "Use `fntx backtest FILE`, or give both.",
            )  # fmt: skip
    day, previous = (
        None if feed[name] is None else day_from_json(feed[name], f"config.feed.{name}") for name in ("day", "previous")
    )
    if day and previous and previous.date >= day.date:
        raise InvalidArgument("config.feed.previous.date", f"{previous.date} is not before {day.date}", "Correct it.")
    if day:
        _check_trading_day(day.date.isoformat(), "config.feed.day.date", calendar)


def _check_trading_day(text: str, field: str, calendar: str) -> None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(field, f"{text!r} is not a date", "Write it as 2018-01-31.") from None
    if not _calendar(calendar).is_trading_day(day):
        raise InvalidArgument(field, f"{day} is not a trading day of {calendar}", "Correct it.")


def _calendar(name: str) -> Calendar:
    try:
        return get_calendar(name)
    except InvalidArgument as error:
        raise InvalidArgument("config.calendar", *error.args[1:]) from None
