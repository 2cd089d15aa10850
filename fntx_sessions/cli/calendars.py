"""`fntx calendar`: when an exchange trades, in its own time, in UTC and in the time of whoever asks."""

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.exceptions import InvalidArgument

if TYPE_CHECKING:
    from fntx_sessions.trading.calendars import Calendar, Hours

Span = tuple[datetime | None, datetime | None]
_MOST_DAYS = 400


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command("calendar")(calendar)


def calendar(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="The exchange, as in ISO 10383.")] = "XNYS",
    day: Annotated[str | None, typer.Option(help="The day, as 2018-12-24; the exchange's today if not given.")] = None,
    following: Annotated[
        int, typer.Option("--next", min=0, max=_MOST_DAYS, help="So many trading days after it too.")
    ] = 0,
    names: Annotated[bool, typer.Option("--names", help="List the calendars there are.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show when an exchange trades: stock, options, extended hours, lunch, flat-by; half days and late opens marked."""
    from fntx_sessions.trading.calendars import calendar_names, get_calendar  # noqa: PLC0415 -- slow to import

    if names:
        known = calendar_names()
        output.emit(known) if as_json else output.console().print("\n".join(known))
        return
    found = get_calendar(name)
    first = found.day_at(datetime.now(UTC)) if day is None else _day(day)
    listed = _listed(found, first, following)
    if as_json:
        output.emit({"calendar": name, "time_zone": found.zone.key, "days": listed})
        return
    for facts in listed:
        _show(found, facts)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidArgument("--day", f"{text!r} is not a date", "Write it as 2018-12-24.") from None


def _listed(found: "Calendar", first: date, following: int) -> list[dict[str, Any]]:
    try:
        return [_facts(found, one) for one in _days(found, first, following)]
    except InvalidArgument as error:
        raise InvalidArgument("--day", *error.args[1:]) from None


def _days(found: "Calendar", first: date, following: int) -> list[date]:
    days = [first]
    while len(days) <= following:
        days.append(found.next_trading_day(days[-1]))
    return days


def _facts(found: "Calendar", day: date) -> dict[str, Any]:
    """Return a day as `--json` prints it; times are UTC."""
    hours = found.hours(day)
    if hours is None:
        return {"day": day, "trading": False, "next": found.next_trading_day(day)}
    spans = {name: {"from": first, "to": last} for name, (first, last) in _spans(hours).items()}
    return {"day": day, "trading": True, "half_day": hours.half_day, "late_open": _late(found, hours), "hours": spans}


def _spans(hours: "Hours") -> dict[str, Span]:
    from fntx_sessions.settings import get_settings  # noqa: PLC0415 -- `fntx --help` reads no environment

    flat_by = hours.close - timedelta(minutes=get_settings().flat_by_minutes)
    spans: dict[str, Span] = {"stock": (hours.open, hours.close), "options": (hours.open, hours.option_close)}
    if (hours.extended_open, hours.extended_close) != (hours.open, hours.close):
        spans["extended"] = (hours.extended_open, hours.extended_close)
    if hours.break_start is not None:
        spans["lunch"] = (hours.break_start, hours.break_end)
    return {**spans, "flat by": (flat_by, None)}


def _late(found: "Calendar", hours: "Hours") -> bool:
    """Tell whether the day opens later than most trading days around it."""
    days = found.trading_days(hours.day - timedelta(days=20), hours.day + timedelta(days=20))
    opens = [_opening(found, other) for other in days]
    usual = max(set(opens), key=opens.count)
    return _opening(found, hours.day) > usual


def _opening(found: "Calendar", day: date) -> timedelta:
    hours = found.hours(day)
    assert hours is not None  # noqa: S101 -- asked for trading days only
    return hours.open.astimezone(found.zone).replace(tzinfo=None) - datetime.combine(day, datetime.min.time())


def _show(found: "Calendar", facts: dict[str, Any]) -> None:
    day: date = facts["day"]
    if not facts["trading"]:
        output.console().print(f"[bold]{day:%a %Y-%m-%d}[/bold]  shut; the next trading day is {facts['next']}")
        return
    marks = [text for text, holds in (("half day", facts["half_day"]), ("late open", facts["late_open"])) if holds]
    output.console().print(f"[bold]{day:%a %Y-%m-%d}[/bold]  {', '.join(marks)}".rstrip())
    rows = [{"what": what, "day": day, **span} for what, span in facts["hours"].items()]
    # None: the time of whoever asks, as it was or will be on that day.
    zones: dict[str, tzinfo | None] = {found.zone.key: found.zone, "UTC": UTC, "here": None}
    draw = {name: lambda row, zone=zone: _times(row, zone) for name, zone in zones.items()}
    output.table(rows, {"hours": lambda row: row["what"], **draw}, "no hours")


def _times(row: dict[str, Any], zone: tzinfo | None) -> str:
    ends = [_clock(moment, row["day"], zone) for moment in (row["from"], row["to"]) if moment is not None]
    return "-".join(ends)


def _clock(moment: datetime, day: date, zone: tzinfo | None) -> str:
    """Return the time in a zone, with the days by which its date differs from the trading day's."""
    there = moment.astimezone(zone)
    apart = (there.date() - day).days
    return f"{there:%H:%M}" + (f" {apart:+d}d" if apart else "")
