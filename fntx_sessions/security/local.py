"""The tokens a process holds: the local administrator's file, the caller's own, and the system's."""

import threading
import time
from pathlib import Path

from fntx_sessions.exceptions import StackError, Unauthenticated
from fntx_sessions.security import keys
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.keyring import ensure_ring
from fntx_sessions.security.keys import LocalKeys
from fntx_sessions.security.machine_user import machine_user
from fntx_sessions.security.names import SYSTEM_NAME
from fntx_sessions.security.private_files import file_version, write_private
from fntx_sessions.security.refusals import NO_KEY_HERE, UNKNOWN_KEY, kind_of
from fntx_sessions.security.roles import ADMIN, SYSTEM
from fntx_sessions.security.tokens import expires_in_s, issue, verify
from fntx_sessions.settings import Settings, get_settings

ADMIN_TOKEN_TTL_S = 30 * 86_400
ADMIN_TOKEN_RENEW_BELOW_S = 7 * 86_400


def ensure_local_keys(home: Path) -> LocalKeys:
    """Make what `home` lacks: key pairs, key ring, and an administrator's token of 30 days, renewed in its last 7.

    A desk that keeps its key ring elsewhere gets none here.

    Readable by this user alone. Raises StackError when the folder is not usable.
    """
    found = keys.ensure_key_pairs(home)
    local = _settings_of(home)
    if local.key_ring is None and local.key_ring_file is None:
        ensure_ring(home)
    held = _read(found.admin_token_file)
    if held is None or expires_in_s(held, local) < ADMIN_TOKEN_RENEW_BELOW_S:
        renew_admin_token(home)
    return found


def renew_admin_token(home: Path) -> None:
    """Write a new administrator's token into `home`; raises StackError where that cannot be done."""
    path = LocalKeys.of(home).admin_token_file
    token = issue(_settings_of(home), "admin", [ADMIN], ADMIN_TOKEN_TTL_S)
    try:
        write_private(path, token.encode())
    except OSError as error:
        raise StackError(f"cannot write {path}: {error.strerror}", "Set FNTX_HOME.") from error


def _settings_of(home: Path) -> Settings:
    """Return settings under which a home's own keys sign and verify."""
    none = dict.fromkeys(
        ("token_private_key_file", "token_public_key_file", "system_private_key_file", "system_public_key_file")
    )
    return Settings(home=home, **none)


def current_token(settings: Settings | None = None) -> str | None:
    """Return the token a caller on this machine sends: FNTX_TOKEN, else the home's administrator's, else None."""
    settings = settings or get_settings()
    if settings.token is not None:
        return settings.token.get_secret_value()
    return admin_token(settings)


def admin_token(settings: Settings) -> str | None:
    """Return the administrator's token of this home, None without one that may be read."""
    return _read(LocalKeys.of(settings.home).admin_token_file)


def beside_actor(settings: Settings) -> Actor:
    """Return who does something beside the desk, on files of this machine: whom the token here speaks for.

    Where there is no token, or none of a key that is known here, it is the machine's user, with no role: whoever may
    write the files may do it, and a lost key is changed without one. Raises Unauthenticated for a token that is not
    good: over, revoked, forged. What its roles allow is not looked at.
    """
    token = current_token(settings)
    if token is None:
        return machine_user()
    try:
        return verify(token, settings)
    except Unauthenticated as error:
        if kind_of(error) in (UNKNOWN_KEY, NO_KEY_HERE):
            return machine_user()
        raise


class _SystemTokens:
    """One short-lived token per private key, renewed at half its life and once the key is another; threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[Path, tuple[int, int, int]], tuple[str, float]] = {}

    def get(self, settings: Settings, host: str) -> str:
        path = keys.system_pair(settings).private
        key = (path, file_version(path))
        with self._lock:
            token, renew_at = self._held.get(key, ("", 0.0))
            if time.time() >= renew_at:
                token = issue(settings, SYSTEM_NAME, [SYSTEM], settings.system_token_ttl_s, host=host)
                self._held = {key: (token, time.time() + settings.system_token_ttl_s / 2)}
            return token


_system_tokens = _SystemTokens()


def process_token(settings: Settings | None = None, *, host: str = "") -> str | None:
    """Return a fresh token of the system's own, for what workers and beat send; None without the system's key.

    Raises StackError when the key is there but not usable.
    """
    settings = settings or get_settings()
    if not keys.system_pair(settings).private.exists():
        return None
    return _system_tokens.get(settings, host)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return None
