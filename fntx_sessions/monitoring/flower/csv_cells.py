"""Rows as CSV that a spreadsheet takes for what it is: no cell of ours is run as a formula, no amount is cut."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from fntx_sessions.printable import printable

# What a spreadsheet takes for the beginning of a formula, wide forms included, behind whatever blanks.
_FORMULA = re.compile(r"^\s*[=+\-@|%\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]")


def to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a line of names, then one a row; nothing for None, times in UTC."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(columns)
    writer.writerows([cell(row[name]) for name in columns] for row in rows)
    return written.getvalue()


def cell(value: Any) -> str:
    """Return a value as a cell; text that begins like a formula is led by an apostrophe, numbers are numbers."""
    if value is None:
        return ""
    if isinstance(value, Decimal | float | int) and not isinstance(value, bool):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, list | tuple):
        return cell(" ".join(map(str, value)))
    text = str(value) if isinstance(value, UUID) else printable(str(value))
    return f"'{text}" if _FORMULA.search(text) else text
