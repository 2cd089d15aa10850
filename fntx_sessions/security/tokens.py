"""Signed tokens: who asks, with which roles, for how long. EdDSA and nothing else."""

import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fntx_sessions.exceptions import Unauthenticated
from fntx_sessions.security import keys
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import ROLES
from fntx_sessions.settings import Settings, get_settings

ISSUER = "fntx-sessions"
AUDIENCE = "fntx-sessions"
ALGORITHM = "EdDSA"
MAX_TOKEN_CHARACTERS = 4096
REQUIRED_CLAIMS = ["iss", "aud", "sub", "roles", "iat", "nbf", "exp", "jti"]

_ASK = "Get a new token from whoever issues them; on a local stack `fntx up` renews yours."
_SEND = "Set FNTX_TOKEN, run on the machine of the stack, or send the header `fntx_token`."
_CONFIGURE = "Set FNTX_TOKEN_PUBLIC_KEY_FILE where tasks run, or run `fntx up` once."

# What a refused token is told; anything PyJWT raises that is not here is "cannot be verified".
_DETAILS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet; compare the clocks of the two machines",
    jwt.InvalidAudienceError: "the token was issued for another service",
    jwt.InvalidIssuerError: "the token was issued by somebody else",
    jwt.MissingRequiredClaimError: "the token lacks a claim",
    jwt.InvalidSignatureError: "the token's signature does not match",
    jwt.InvalidAlgorithmError: "the token is not signed with EdDSA",
}


def issue(
    settings: Settings, name: str, roles: Iterable[str], ttl_s: int, *, sessions: Iterable[str] = (), host: str = ""
) -> str:
    """Return a token for `name`, good for `ttl_s` seconds, on `sessions` only where some are given.

    Raises ValueError for an unknown role, Unauthenticated when this process holds no private key, StackError when
    that key is not usable.
    """
    if unknown := set(roles) - ROLES:
        msg = f"unknown roles {sorted(unknown)}; there are {sorted(ROLES)}"
        raise ValueError(msg)
    try:
        key = keys.load_private_key(keys.private_key_file(settings))
    except OSError as error:
        detail = f"this process holds no private key ({error.strerror})"
        raise Unauthenticated(detail, "Set FNTX_TOKEN_PRIVATE_KEY_FILE, or run `fntx up` once.") from error
    claims = _claims(name, roles, ttl_s) | {"session": sorted(sessions), "host": host}
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": keys.key_id(key.public_key())})


def verify(token: object, settings: Settings | None = None) -> Actor:
    """Return who `token` speaks for; raises Unauthenticated saying what is wrong with it and what to do.

    `token` comes off the wire: None, or anything. Under ``auth_mode=open`` a caller without a token is
    `anonymous` with all roles, and the log says so once.
    """
    settings = settings or get_settings()
    if token is None:
        return _nobody(settings)
    if not isinstance(token, str) or not token:
        raise Unauthenticated("the token is not a string", _SEND)
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise Unauthenticated(f"the token has more than {MAX_TOKEN_CHARACTERS} characters", _ASK)
    return _actor(_decode(token, settings))


def expires_in_s(token: str, settings: Settings) -> float:
    """Return for how many seconds a token of ours is still good; 0 when it cannot be verified."""
    try:
        return max(0.0, float(_decode(token, settings)["exp"]) - time.time())
    except Unauthenticated:
        return 0.0


def _claims(name: str, roles: Iterable[str], ttl_s: int) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": name,
        "roles": sorted(roles),
        "iat": now,
        "nbf": now,
        "exp": now + ttl_s,
        "jti": uuid4().hex,
    }


def _decode(token: str, settings: Settings) -> dict[str, Any]:
    path = keys.public_key_file(settings)
    try:
        version = keys.file_version(path)
    except OSError as error:
        raise Unauthenticated(f"this process has no key to verify tokens ({error.strerror})", _CONFIGURE) from error
    claims = _verified(token, path, version, settings.token_leeway_s)
    if int(claims["exp"]) <= time.time() - settings.token_leeway_s:
        raise Unauthenticated(_DETAILS[jwt.ExpiredSignatureError], _ASK)
    return claims


@lru_cache(maxsize=1024)
def _verified(token: str, path: Path, _version: tuple[int, int, int], leeway_s: int) -> dict[str, Any]:
    """Return a token's claims. Remembered while its key file stays: all but its end holds for good once it was true.

    Callers send one token with many commands, and checking a signature costs as much as the rest of the edge.
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            _verification_key(token, path),
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=leeway_s,
            options={"require": REQUIRED_CLAIMS},
        )
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        # ValueError and RecursionError: bytes that are no JSON, or JSON nested to hurt the parser.
        detail = next((text for kind, text in _DETAILS.items() if isinstance(error, kind)), "it cannot be verified")
        raise Unauthenticated(detail, _ASK) from error
    return claims


def _verification_key(token: str, path: Path) -> Ed25519PublicKey:
    ring = keys.load_public_keys(path)
    header = jwt.get_unverified_header(token)
    if header.get("alg") != ALGORITHM:
        raise Unauthenticated(_DETAILS[jwt.InvalidAlgorithmError], _ASK)
    try:
        return ring[header.get("kid", "")]
    except (KeyError, TypeError):
        raise Unauthenticated("the token is signed with a key this service does not know", _ASK) from None


def _actor(claims: dict[str, Any]) -> Actor:
    roles, sessions = claims["roles"], claims.get("session") or []
    if not _are_strings(roles) or not roles or not set(roles) <= ROLES or not _are_strings(sessions):
        raise Unauthenticated("the token's roles or scope are not ones this service knows", _ASK)
    return Actor(
        name=claims["sub"],
        roles=frozenset(roles),
        host=str(claims.get("host") or ""),
        token_id=claims["jti"],
        sessions=frozenset(sessions),
    )


def _are_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


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
