"""The values and the base that all models are made of: money, moments, fractions; frozen, unknown fields refused."""

from datetime import UTC
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer

Plain = dict[str, Any]
Money = Annotated[Decimal, Field(allow_inf_nan=False), PlainSerializer(float, return_type=float, when_used="json")]
Time = Annotated[AwareDatetime, AfterValidator(lambda value: value.astimezone(UTC))]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Model(BaseModel):
    """Base: frozen, refuses unknown fields and non-finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def dict(self, **options: Any) -> Plain:
        """Do as `model_dump`, which pydantic has it by now; services that know its older name may go on using it."""
        return self.model_dump(**options)
