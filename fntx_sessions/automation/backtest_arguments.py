"""What a backtest run is asked for, validated at the edge, and what may not be overridden in it."""

from itertools import pairwise
from typing import Any, Self
from uuid import UUID

from pydantic import Field, model_validator

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import Model
from fntx_sessions.trading.days import Day, day_from_json

MOST_UNITS = 100_000
# The run itself says these: a unit is one day and one seed, on an account of its own.
_FIXED_FEED = ("kind", "seed", "day", "previous", "trade_date")
_FIXED_CONFIG = ("account", "tags", "calendar")


class BacktestArguments(Model):
    """fntx.backtests.create. `days`: consecutive trading days as `Day.to_json`, the first one only a previous day."""

    days: list[dict[str, Any]] = Field(min_length=2, max_length=20_000)
    template_name: str = Field(default="Backtest", min_length=1, max_length=200)
    seeds: int = Field(default=50, ge=1, le=10_000)
    seed0: int = Field(default=0, ge=0, lt=2**62)
    overrides: dict[str, Any] = Field(default_factory=dict)
    reason: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _is_of_a_size(self) -> Self:
        if (len(self.days) - 1) * self.seeds > MOST_UNITS:
            msg = f"days x seeds exceed {MOST_UNITS}: give fewer days or fewer seeds"
            raise ValueError(msg)
        return self


class RunArguments(Model):
    """A question or a command about one run."""

    run_id: UUID


class RunsArguments(Model):
    """The newest runs."""

    limit: int = Field(default=20, ge=1, le=1000)


def checked_days(arguments: BacktestArguments) -> list[Day]:
    """Return the days, each checked; raises InvalidArgument naming the one that is wrong or out of order."""
    days = [day_from_json(data, f"days.{number}") for number, data in enumerate(arguments.days)]
    for number, (before, day) in enumerate(pairwise(days), start=1):
        if day.date <= before.date:
            raise InvalidArgument(f"days.{number}.date", f"{day.date} does not follow {before.date}", "Sort the days.")
    return days


def check_overrides(overrides: dict[str, Any]) -> None:
    """Return when a run may be told these; raises InvalidArgument naming the key that the run sets itself."""
    config = overrides.get("config") or {}
    for key in _FIXED_CONFIG:
        if key in config or key in overrides:
            raise InvalidArgument(f"overrides.{key}", "is set by the run itself", "Leave it out.")
    feed = config.get("feed") or overrides.get("feed") or {}
    for key in _FIXED_FEED:
        if key in feed:
            raise InvalidArgument(f"overrides.feed.{key}", "is set by the run itself", "Use --from, --to and --seeds.")
