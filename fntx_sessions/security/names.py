"""Names of people and services: ASCII alone, so that no two of them read alike but for what `alike` knows.

The strictest level of Unicode's identifier profiles (UTS 39, "ASCII-Only"): whoever reads a name in the audit or on a
page sees every character of it. It needs no tables of scripts, which change with each version of Unicode.
"""

import re

NAME_CHARACTERS = 64
SYSTEM_NAME = "system"
# Nobody's: `anonymous` is what a caller without a token is called where none is needed.
_RESERVED = frozenset({SYSTEM_NAME, "anonymous", "desk", "fntx"})
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@+:-]*[A-Za-z0-9])?")
# What reads alike in common fonts, by Unicode's table of confusables as far as it is about ASCII; marks tell no people
# apart.
_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l"} | dict.fromkeys("._@+:-", ""))
RULE = (
    f"Take 1 to {NAME_CHARACTERS} letters a-z, digits and . _ - @ + : with a letter or digit at both ends, "
    "and none of " + ", ".join(sorted(_RESERVED))
)


def problem_of(name: object) -> str | None:
    """Return what is wrong with a name of a person or service, None where nothing is."""
    if not isinstance(name, str) or not name:
        return "is no name"
    if len(name) > NAME_CHARACTERS:
        return f"has {len(name)} characters"
    if not _NAME.fullmatch(name):
        return f"holds what no name may: {_strange(name)}"
    if alike(name) in {alike(one) for one in _RESERVED}:
        return "is the desk's own, or reads like it"
    return None


def alike(name: str) -> str:
    """Return what is the same for two names that a person may take for one: ``Ann.Lee`` and ``ann_lee``.

    Two people whose consent counts must differ in it.
    """
    return name.casefold().translate(_ALIKE).replace("rn", "m")


def _strange(name: str) -> str:
    """Return the characters that do not belong, in ASCII: an error must not show what only looks right."""
    found = [character for character in name if not re.fullmatch(r"[A-Za-z0-9._@+:-]", character)]
    told = " ".join(f"U+{ord(character):04X}" for character in found[:5])
    return told or "its first and last character are letters or digits"
