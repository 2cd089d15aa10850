"""What templates call: facts as people read them. What returns HTML returns it whole and escaped, for `raw`."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tornado.escape import xhtml_escape

from fntx_sessions.printable import printable

# As the typographer wants them: a dash for nothing, and a minus as wide as the digits.
NONE, MINUS = "\u2013", "\u2212"


def plain(value: object) -> str:
    """Return text from elsewhere, control and reordering characters written as escapes; a dash for none."""
    return printable(str(value)) if value not in (None, "", [], {}) else NONE


def money(value: Any) -> str:
    """Return dollars with a sign and a colour, as HTML; a dash for none."""
    if value is None:
        return NONE
    amount = float(value)
    kind = "loss" if amount < 0 else "gain" if amount > 0 else "even"
    return f'<span class="money {kind}">{MINUS if amount < 0 else ""}${abs(amount):,.2f}</span>'


def dollars(value: Any) -> str:
    """Return dollars as text; a dash for none."""
    return NONE if value is None else f"{MINUS if float(value) < 0 else ''}${abs(float(value)):,.2f}"


def percent(value: Any) -> str:
    """Return a fraction as a percentage; a dash for none."""
    return NONE if value is None else f"{float(value):.0%}"


def number(value: Any, unit: str = "") -> str:
    """Return a number with separators, and its unit; a dash for none."""
    if value is None:
        return NONE
    shown = round(value) if isinstance(value, float) and abs(value) >= _WHOLE else value
    digits = f"{shown:,.3g}" if isinstance(shown, float) else f"{shown:,}"
    return f"{digits} {unit}" if unit else digits


def minutes(seconds: Any) -> str:
    """Return how long something was, in whole minutes; a dash for none."""
    if seconds is None:
        return NONE
    hours, left = divmod(int(seconds // 60), 60)
    return f"{hours:,} h {left} min" if hours else f"{left} min"


def moment(value: Any) -> str:
    """Return a time in UTC to the second; a dash for none."""
    at = _time(value)
    return NONE if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def ago(value: Any) -> str:
    """Return a time as HTML that the browser keeps counting: `12 s ago`; a dash for none.

    Its text is the time itself, so that it does not change by itself: what changes is drawn and sent anew.
    """
    at = _time(value)
    if at is None:
        return NONE
    return f'<time class="ago" datetime="{at.astimezone(UTC).isoformat()}">{at.astimezone(UTC):%H:%M:%S}</time>'


def since(value: Any) -> str:
    """Return how long something has been so, as `ago` without the word."""
    return ago(value).replace('class="ago"', 'class="since"')


def status(value: object) -> str:
    """Return a status with its colour and its word, as HTML."""
    return _badge("status", value)


def severity(value: object) -> str:
    """Return a severity, or a health grade, with its colour and its word, as HTML."""
    return _badge("severity", value)


def _badge(kind: str, value: object) -> str:
    text = xhtml_escape(str(value))
    return f'<span class="{kind} {kind}-{text.replace(" ", "-").lower()}">{text}</span>'


def share_bar(share: float | None, label: str) -> str:
    """Return a bar of how much of something is used, 0-1, as HTML with its words; a dash where it is not known."""
    if share is None:
        return NONE
    within = min(max(share, 0.0), 1.0)
    grade = "high" if within >= HIGH else "some" if within >= SOME else "low"
    told = xhtml_escape(label)
    return (
        f'<span class="bar bar-{grade}"><meter min="0" max="1" value="{within:.3f}" aria-label="{told}"></meter>'
        f"<span>{told}</span></span>"
    )


def short(session_id: object) -> str:
    """Return the first characters of an id, as people name it."""
    return str(session_id)[:8]


def _time(value: Any) -> datetime | None:
    if not value:
        return None
    return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))


SOME, HIGH = 0.5, 0.8
_WHOLE = 100  # from here on a measure's fractions tell nothing
FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        ago,
        dollars,
        minutes,
        money,
        moment,
        number,
        percent,
        plain,
        severity,
        share_bar,
        short,
        since,
        status,
    )
}
