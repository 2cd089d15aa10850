"""Text from elsewhere, made safe for eyes: nothing in it moves a cursor, reorders a line, or hides."""

import json
import re

# What moves the cursor, colours, clears or reorders a screen, or is not seen on it. Joiners make letters and stay.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Return text with what a terminal would obey, or not show, written as its escape; newlines and tabs stay."""
    return _UNPRINTABLE.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def same_json(text: str) -> str:
    """Return JSON that says the same, with what a terminal would obey written as JSON's own escapes."""
    return _UNPRINTABLE.sub(lambda found: json.dumps(found.group())[1:-1], text)
