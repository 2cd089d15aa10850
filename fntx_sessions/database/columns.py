"""The kinds of column the tables are made of."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from fntx_sessions.schemas import Hold, SessionStatus, SessionType


def one_of(column: str, values: type[SessionStatus] | type[SessionType]) -> CheckConstraint:
    """Return the CHECK that a column holds one of an enum's values."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def now(name: str) -> Column[object]:
    """Return a required time column, the current time by default."""
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def at(name: str) -> Column[object]:
    """Return a time column that may be empty."""
    return Column(name, DateTime(timezone=True))


def json(name: str, default: str | None = None) -> Column[object]:
    """Return a jsonb column; required, with that default, where one is given."""
    if default is None:
        return Column(name, JSONB)
    return Column(name, JSONB, nullable=False, server_default=text(f"'{default}'::jsonb"))


HOLDS = ", ".join(f"'{hold}'" for hold in Hold)
