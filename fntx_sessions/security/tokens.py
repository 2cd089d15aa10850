"""Signed tokens: who asks, with which roles, for how long, for what. EdDSA and nothing else."""

import math
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fntx_sessions.exceptions import StackError, Unauthenticated
from fntx_sessions.security import key_files, keys, revocations, token_claims
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.names import SYSTEM_NAME
from fntx_sessions.security.private_files import file_version
from fntx_sessions.security.roles import ROLES, SYSTEM
from fntx_sessions.security.token_claims import EXPIRED, LATE, TOO_EARLY, Unsound, Verified
from fntx_sessions.settings import Settings, get_settings

ISSUER = "fntx-sessions"
AUDIENCE = "fntx-sessions"
ALGORITHM = "EdDSA"
MAX_TOKEN_CHARACTERS = 4096
REQUIRED_CLAIMS = ["iss", "aud", "sub", "roles", "iat", "nbf", "exp", "jti"]
# A flood of forged ones must not push out those that are good: each kind has a memory of its own.
_REMEMBERED = 1024

_ASK = "Get a new token from whoever issues them; on a local stack `fntx up` renews yours."
_SEND = "Set FNTX_TOKEN, run on the machine of the stack, or send the header `fntx_token`."
_CONFIGURE = "Set FNTX_TOKEN_PUBLIC_KEY_FILE where tasks run, or run `fntx up` once."
_UNKNOWN_KEY = "the token is signed with a key this service does not know"
_MALFORMED = "it cannot be verified"
_MICROSECOND = 1e-6  # what Postgres tells moments apart by
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*", re.ASCII)

# What a refused token is told; anything PyJWT raises that is not here is "cannot be verified".
_DETAILS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: EXPIRED,
    jwt.ImmatureSignatureError: TOO_EARLY,
    jwt.InvalidAudienceError: "the token was issued for another service",
    jwt.InvalidIssuerError: "the token was issued by somebody else",
    jwt.MissingRequiredClaimError: "the token lacks a claim",
    jwt.InvalidSignatureError: "the token's signature does not match",
    jwt.InvalidAlgorithmError: "the token is not signed with EdDSA",
}
# The moments are looked at each time, the rest once.
_OPTIONS: Any = {"require": REQUIRED_CLAIMS, "verify_exp": False, "verify_nbf": False, "verify_iat": False}


def issue(
    settings: Settings,
    name: str,
    roles: Iterable[str],
    ttl_s: int,
    *,
    sessions: Iterable[str] | None = None,
    templates: Iterable[str] | None = None,
    tags: Iterable[str] | None = None,
    host: str = "",
    args: str = "",
    after: float | None = None,
) -> str:
    """Return a token for `name`, good for `ttl_s` seconds, where a scope is given on what is in any of it only.

    args: `binding.binding` of the one command it is good for. after: the moment until which all of that name are
    refused, in seconds since 1970; this one is not. One with the role `system` is signed with the system's key. Raises
    ValueError for an unknown role, a name that is none, a scope too wide or with nothing in it, or a life too long,
    Unauthenticated when this process holds no private key, StackError when that key is not usable.
    """
    given = {"session": sessions, "templates": templates, "tags": tags}
    scope = {claim: sorted(words) for claim, words in given.items() if words is not None}
    own = {"roles": sorted(roles), "host": host, "args": args}
    if unknown := set(own["roles"]) - ROLES:
        msg = f"unknown roles {sorted(unknown)}; there are {sorted(ROLES)}"
        raise ValueError(msg)
    # A scope without anything in it stays, and is refused: left out, the token would be good for everything.
    said = {claim: value for claim, value in own.items() if value}
    claims = {"sub": name} | _moments(ttl_s, after) | said | scope
    of_system = SYSTEM in own["roles"]
    token_claims.refuse_untimely(token_claims.verified(claims, "", of_system=of_system), settings)
    pair = keys.system_pair(settings) if of_system else keys.signing_pair(settings)
    try:
        key = key_files.load_private_key(pair.private)
    except OSError as error:
        detail = f"this process holds no private key ({error.strerror})"
        fix = "Run `fntx up` once where the keys are; `fntx signing-keys list` shows which files are meant."
        raise Unauthenticated(detail, fix) from error
    headers = {"kid": key_files.key_id(key.public_key())}
    token = jwt.encode(claims, key, algorithm=ALGORITHM, headers=headers)
    if len(token) > MAX_TOKEN_CHARACTERS:
        msg = f"a token of {len(token)} characters; {MAX_TOKEN_CHARACTERS} are taken: give it a smaller scope"
        raise ValueError(msg)
    return token


def verify(
    token: object, settings: Settings | None = None, *, asked: Callable[[], str] | None = None, wait: bool = True
) -> Actor:
    """Return who `token` speaks for; raises Unauthenticated saying what is wrong with it and what to do.

    `token` comes off the wire: None, or anything. asked: tells the `binding.binding` of what is asked with it; where it
    is None, a token that is good for one command alone is refused. wait: look up what was revoked, where that is not
    known freshly; without it `revocations.keep_fresh` does. Under ``auth_mode=open`` a caller without a token is
    `anonymous` with all roles, and the log says so once.
    """
    settings = settings or get_settings()
    if token is None:
        return _nobody(settings)
    found = read(token, settings)
    revocations.refuse_revoked(found.actor, settings, wait=wait)
    if found.args and (asked is None or asked() != found.args):
        raise Unauthenticated("the token is good for one other command alone", _ASK)
    return found.actor


def read(token: object, settings: Settings) -> Verified:
    """Return what a token says that is one of ours and good now, revoked or not; raises Unauthenticated."""
    if not isinstance(token, str) or not token:
        raise Unauthenticated("the token is not a string", _SEND)
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise Unauthenticated(f"the token has more than {MAX_TOKEN_CHARACTERS} characters", _ASK)
    found = _signed(token, settings)
    try:
        token_claims.refuse_untimely(found, settings)
    except Unsound as error:
        late = str(error) == EXPIRED and found.actor.name == SYSTEM_NAME
        raise Unauthenticated(LATE if late else str(error), _ASK) from error
    return found


def expires_in_s(token: str, settings: Settings) -> float:
    """Return for how many seconds a token of ours is still good; 0 when it cannot be verified."""
    try:
        return max(0.0, read(token, settings).ends_at - time.time())
    except Unauthenticated:
        return 0.0


def _moments(ttl_s: int, after: float | None) -> dict[str, Any]:
    now = math.floor(time.time() * 1000) / 1000
    issued_at = now if after is None else max(now, after + _MICROSECOND)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "iat": issued_at, "nbf": now}
    return claims | {"exp": math.floor(now) + ttl_s, "jti": uuid4().hex}


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        return file_version(path)
    except OSError:
        return None


def _key(path: Path, key_id: object) -> Ed25519PublicKey | None:
    if not isinstance(key_id, str) or _version(path) is None:
        return None
    found = key_files.load_public_keys(path).get(key_id)
    return found.key if found else None


class _Memory:
    """What was found out of so many tokens, the longest unseen forgotten first. For several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._good: OrderedDict[Any, Verified | str] = OrderedDict()
        self._bad: OrderedDict[Any, Verified | str] = OrderedDict()

    def get(self, key: Any) -> Verified | str | None:
        with self._lock:
            for kept in (self._good, self._bad):
                if (found := kept.get(key)) is not None:
                    kept.move_to_end(key)
                    return found
        return None

    def keep(self, key: Any, found: Verified | str) -> None:
        with self._lock:
            kept = self._bad if isinstance(found, str) else self._good
            kept[key] = found
            if len(kept) > _REMEMBERED:
                kept.popitem(last=False)


_memory = _Memory()


def _signed(token: str, settings: Settings) -> Verified:
    """Return what a token says, whatever the time. Remembered while the key files stay: it holds for good.

    Callers send one token with many commands, and checking a signature costs as much as the rest of the edge.
    """
    people, system = keys.signing_pair(settings).public, keys.system_pair(settings).public
    # Looked at each time: a key that is taken away is gone at once.
    versions = _version(people), _version(system)
    if versions == (None, None):
        raise Unauthenticated(f"this process has no key to verify tokens (no {people.name})", _CONFIGURE)
    key = (token, str(people), str(system), versions)
    found = _memory.get(key)
    if found is None:
        found = _judged(token, people, system)
        _memory.keep(key, found)
    if isinstance(found, str):
        raise Unauthenticated(found, _ASK)
    return found


def _judged(token: str, people: Path, system: Path) -> Verified | str:
    """Return what a token says, or what is wrong with it; raises Unauthenticated where that is this process's keys."""
    if not _FORM.fullmatch(token):
        return _MALFORMED
    try:
        key_id, key, of_system = _verification_key(token, people, system)
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=[ALGORITHM], audience=AUDIENCE, issuer=ISSUER, options=_OPTIONS
        )
        token_claims.refuse_doubles(token)
        return token_claims.verified(claims, key_id, of_system=of_system)
    except Unsound as error:
        return str(error)
    except StackError as error:
        raise Unauthenticated(f"this process's keys are not usable: {error.args[0]}", str(error.args[1])) from error
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        # ValueError and RecursionError: bytes that are no JSON, or JSON nested to hurt the parser.
        return next((text for kind, text in _DETAILS.items() if isinstance(error, kind)), _MALFORMED)


def _verification_key(token: str, people: Path, system: Path) -> tuple[str, Ed25519PublicKey, bool]:
    header = jwt.get_unverified_header(token)
    if header.get("alg") != ALGORITHM:
        raise Unsound(_DETAILS[jwt.InvalidAlgorithmError])
    key_id = header.get("kid")
    theirs, own = _key(people, key_id), _key(system, key_id)
    if theirs is not None and own is not None:
        told = f"key {key_id} stands for people and for the system: take it out of {people} or {system}"
        raise Unsound(told)
    if (key := theirs or own) is None:
        raise Unsound(_UNKNOWN_KEY)
    return str(key_id), key, own is not None


def _nobody(settings: Settings) -> Actor:
    if settings.auth_mode != "open":
        raise Unauthenticated("there is no token", _SEND)
    _warn_open()
    return Actor("anonymous", ROLES)


class _Once:
    """Says it the first time only: an open service runs thousands of commands."""

    said = False


def _warn_open() -> None:
    if not _Once.said:
        _Once.said = True
        structlog.get_logger(__name__).warning(
            "auth_open", detail="FNTX_AUTH_MODE=open: every caller may do everything; never where money is"
        )
