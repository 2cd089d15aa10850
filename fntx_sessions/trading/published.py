"""A market as a publisher sends it: what of it is believed, and what is told of it beside its figures."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, Field

from fntx_sessions.parsing import parse
from fntx_sessions.schemas import MarketState, Model, Time
from fntx_sessions.trading.regime import UNKNOWN, market_regime
from fntx_sessions.values import Moment, Number

REGIME = "market_regime"
PREVIOUS_CLOSE = "previous_close"
# Far above anything SPY, the VIX or a level of either ever was: whoever is beyond has slipped a digit or a field.
_MOST_USD = 1_000_000.0
_MOST_VIX = 500.0
_MOST_FIGURE = 1e12
_MOST_LEVELS = 100
_LONGEST_NAME = 50
# The VIX is not told of any day before.
_FIRST = datetime(1990, 1, 1, tzinfo=UTC)


def _dated(at: datetime) -> datetime:
    if at < _FIRST:
        msg = f"is before {_FIRST:%Y}"
        raise ValueError(msg)
    return at


def _figures(levels: dict[str, float]) -> dict[str, float]:
    if any(not 0 < len(name) <= _LONGEST_NAME or not name.isprintable() for name in levels):
        msg = f"has a name that is empty, longer than {_LONGEST_NAME} characters or not printable"
        raise ValueError(msg)
    if any(abs(figure) > _MOST_FIGURE for figure in levels.values()):
        msg = f"has a figure beyond {_MOST_FIGURE:g}"
        raise ValueError(msg)
    close = levels.get(PREVIOUS_CLOSE)
    if close is not None and not 0 < close <= _MOST_USD:
        msg = f"has a {PREVIOUS_CLOSE} that is no price"
        raise ValueError(msg)
    return levels


FeedName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,49}$")]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,49}$")]
_Price = Annotated[Number, Field(gt=0, le=_MOST_USD)]
_Levels = Annotated[list[_Price], Field(max_length=_MOST_LEVELS)]


class PublishedState(MarketState):
    """A MarketState that may be published: figures that can be, words that can be read."""

    timestamp: Annotated[Moment, AfterValidator(_dated)]
    spy_price: _Price
    vix_level: Annotated[Number, Field(gt=0, le=_MOST_VIX)] | None = None
    market_regime: _Name = "normal"
    liquidity_status: _Name = "normal"
    support_levels: _Levels = Field(default_factory=list)
    resistance_levels: _Levels = Field(default_factory=list)
    key_levels: Annotated[dict[str, Number], Field(max_length=_MOST_LEVELS), AfterValidator(_figures)] = Field(
        default_factory=dict
    )

    @property
    def names_regime(self) -> bool:
        """Tell whether its publisher said what the regime is."""
        return REGIME in self.model_fields_set and self.market_regime != UNKNOWN


class Publication(Model):
    """A market with what is told of it. publisher: who sent it; empty where it was written past the door.

    derived: which of its fields the desk worked out itself. realised_volatility: percent a year, where it was looked
    at and known. received_at: by Postgres's clock.
    """

    state: MarketState
    publisher: str = ""
    received_at: Time | None = None
    derived: tuple[str, ...] = ()
    realised_volatility: float | None = None

    def body(self) -> bytes:
        """Return what history keeps of it beside its columns."""
        told = self.model_dump(mode="json", include={"state", "derived", "realised_volatility"})
        return orjson.dumps(told)

    def to_bytes(self) -> bytes:
        """Return what Redis holds, led by its moment, by which `market_latest.lua` compares it with others."""
        return orjson.dumps({"at_us": moment_us(self.state.timestamp), **self.model_dump(mode="json")})

    def same_as(self, known: "Publication") -> bool:
        """Tell whether both say the same, what the desk worked out left aside."""
        left = set(self.derived)
        return self.derived == known.derived and self.state.model_dump(exclude=left) == known.state.model_dump(
            exclude=left
        )


class Published(Model):
    """What became of one. late: kept in history, a later one stands; duplicate: it was known, nothing was written."""

    feed: str
    became: Literal["latest", "late", "duplicate"]
    market: Publication


def checked_state(given: MarketState | dict[str, Any], where: str = "state") -> PublishedState:
    """Return what may be published; raises InvalidArgument by path, led by `where`."""
    if isinstance(given, MarketState):
        given = given.model_dump(exclude_unset=True)
    return parse(PublishedState, given, where)


def kept_publication(row: dict[str, Any]) -> Publication:
    """Return a row of history."""
    return Publication(publisher=row["publisher"], received_at=row["received_at"], **row["body"])


def read_publication(data: bytes) -> Publication:
    """Return what Redis holds; a bare MarketState, written past the door, has no publisher. Raises ValueError."""
    told = orjson.loads(data)
    if not isinstance(told, dict):
        msg = "it is no object"
        raise ValueError(msg)  # noqa: TRY004 - of its contents, as every other problem here
    if "state" not in told:
        return _written_past(MarketState.model_validate(told))
    told.pop("at_us", None)
    return Publication.model_validate(told)


def _written_past(state: MarketState) -> Publication:
    """Return a bare state as a publication: where it names no regime, the VIX alone tells it."""
    if REGIME in state.model_fields_set:
        return Publication(state=state)
    regime = market_regime(state.vix_level)
    return Publication(state=state.model_copy(update={REGIME: regime}), derived=(REGIME,))


def moment_us(at: datetime) -> int:
    """Return a moment as whole microseconds since 1970."""
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
