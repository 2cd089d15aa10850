"""The values and the base that all models are made of: money, moments, fractions; frozen, unknown fields refused."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

Plain = dict[str, Any]
Money = Annotated[Decimal, Field(allow_inf_nan=False), PlainSerializer(float, return_type=float, when_used="json")]


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        msg = "is before the year 1 or after the year 9999 in UTC"
        raise ValueError(msg) from None


Time = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


def _a_number(value: Any) -> Any:
    if isinstance(value, bool | str | bytes):
        msg = "should be a number"
        raise ValueError(msg)  # noqa: TRY004 - pydantic names the field of a ValueError
    return value


def _a_moment(value: Any) -> Any:
    if isinstance(value, datetime) or (isinstance(value, str) and not value.lstrip("+-").replace(".", "", 1).isdigit()):
        return value
    msg = "should be text such as 2026-01-05T15:04:05Z"
    raise ValueError(msg)


# Of other services: true is no 1, text is no number, and a number is no moment, whatever unit its sender thought of.
Number = Annotated[Finite, BeforeValidator(_a_number)]
Moment = Annotated[Time, BeforeValidator(_a_moment)]


class Model(BaseModel):
    """Base: frozen, refuses unknown fields and non-finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def dict(self, **options: Any) -> Plain:
        """Do as `model_dump`, which pydantic has it by now; services that know its older name may go on using it."""
        return self.model_dump(**options)
