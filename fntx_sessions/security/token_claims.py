"""What a token says, once its signature is known to be true: strict where JSON is loose, and bounded."""

import json
import math
import time
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import orjson

from fntx_sessions.security import names
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import ROLES, SYSTEM
from fntx_sessions.settings import Settings

MAX_SCOPE = 100
MAX_WORD_CHARACTERS = 200
_HEADER = frozenset({"alg", "kid", "typ"})
_CLAIMS = frozenset(
    {"iss", "aud", "sub", "roles", "iat", "nbf", "exp", "jti", "session", "templates", "tags", "host", "args"}
)
TWICE = "the token says a thing twice"
UNKNOWN_SCOPE = "the token's roles or scope are not ones this service knows"
EXPIRED = "the token has expired"
LATE = "the system's token has expired while its message waited"
TOO_EARLY = "the token is not valid yet; compare the clocks of the two machines"


@dataclass(frozen=True, slots=True)
class Verified:
    """What a token is good for. Times are seconds since 1970. args: of the one command it is good for; empty: any."""

    actor: Actor
    issued_at: float
    begins_at: float
    ends_at: float
    key_id: str
    args: str = ""


class Unsound(ValueError):
    """A token that is signed and still not one of ours; says what is wrong."""


def refuse_doubles(token: str) -> None:
    """Raise Unsound for a header or claims that name a thing twice, or a thing we do not know.

    Of two claims of one name, each reader takes the one it likes.
    """
    header, claims, _ = token.split(".")
    for segment, known in ((header, _HEADER), (claims, _CLAIMS)):
        if strange := _members(segment) - known:
            told = f"the token says what this service does not know: {min(strange)[:30]!a}"
            raise Unsound(told)


def _members(segment: str) -> set[str]:
    # Not orjson, which tells nobody of doubled members.
    text = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    pairs: Any = json.loads(text, object_pairs_hook=_Pairs)
    if not isinstance(pairs, _Pairs) or len(pairs) != len({name for name, _ in pairs}):
        raise Unsound(TWICE)
    return {name for name, _ in pairs}


class _Pairs(list[tuple[str, Any]]):
    """The members of an object, doubled ones too."""


def verified(claims: Mapping[str, Any], key_id: str, *, of_system: bool) -> Verified:
    """Return what signed claims say; raises Unsound. of_system: a key of the system's signed, which signs nothing else.

    Whether it is the time for it is `refuse_untimely`'s.
    """
    roles, name = claims["roles"], claims["sub"]
    scope = {claim: _words(claims, claim) for claim in ("session", "templates", "tags")}
    if not _are_strings(roles) or not roles or not set(roles) <= ROLES:
        raise Unsound(UNKNOWN_SCOPE)
    _must_be_whose_key_it_is(roles, name, of_system=of_system)
    issued_at, begins_at, ends_at = (_moment(claims, claim) for claim in ("iat", "nbf", "exp"))
    actor = Actor(
        name=name,
        roles=frozenset(roles),
        host=_word(claims, "host"),
        token_id=_word(claims, "jti"),
        sessions=scope["session"],
        templates=scope["templates"],
        tags=scope["tags"],
        issued_at=issued_at,
        ends_at=ends_at,
        key_id=key_id,
    )
    return Verified(actor, issued_at, begins_at, ends_at, key_id, _word(claims, "args"))


def _must_be_whose_key_it_is(roles: list[str], name: Any, *, of_system: bool) -> None:
    if of_system != (SYSTEM in roles) or of_system != (name == names.SYSTEM_NAME) or (of_system and len(roles) > 1):
        told = "the token's key signs for the system alone" if of_system else "only a key of the system's signs for it"
        raise Unsound(told)
    if not of_system and (problem := names.problem_of(name)):
        told = f"the token's name {problem}"
        raise Unsound(told)


def refuse_untimely(found: Verified, settings: Settings) -> None:
    """Raise Unsound for a token that is over, from the future, or good for longer than any may be."""
    now, leeway_s = time.time(), settings.token_leeway_s
    if found.ends_at <= now - leeway_s:
        raise Unsound(EXPIRED)
    if max(found.issued_at, found.begins_at) > now + leeway_s:
        raise Unsound(TOO_EARLY)
    if found.ends_at - min(found.issued_at, found.begins_at) > settings.token_max_ttl_s:
        told = f"the token is good for longer than {settings.token_max_ttl_s} s"
        raise Unsound(told)


def _moment(claims: Mapping[str, Any], claim: str) -> float:
    value = claims[claim]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        told = f"the token's {claim} is no moment"
        raise Unsound(told)
    return float(value)


def _word(claims: Mapping[str, Any], claim: str) -> str:
    if claim not in claims:
        return ""
    value = claims[claim]
    if not isinstance(value, str) or not 0 < len(value) <= MAX_WORD_CHARACTERS or not value.isprintable():
        told = f"the token's {claim} is not one this service knows"
        raise Unsound(told)
    return value


def _words(claims: Mapping[str, Any], claim: str) -> frozenset[str]:
    if claim not in claims:
        return frozenset()
    value = claims[claim]
    if not _are_strings(value) or not _are_bounded(value):
        raise Unsound(UNKNOWN_SCOPE)
    return frozenset(value)


def _are_bounded(words: list[str]) -> bool:
    # One with nothing in it is somebody's empty result, and would be good for everything.
    return 0 < len(words) <= MAX_SCOPE and all(0 < len(word) <= MAX_WORD_CHARACTERS for word in words)


def _are_strings(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def canonical(value: Any) -> bytes:
    """Return a value of JSON as the bytes that every JSON of the same value comes to; raises ValueError."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise ValueError(str(error)) from error
