"""The tokens a process holds: the local administrator's file, the caller's own, and the system's."""

import threading
import time
from pathlib import Path

from fntx_sessions.exceptions import StackError
from fntx_sessions.security import keys
from fntx_sessions.security.keyring import ensure_ring
from fntx_sessions.security.keys import LocalKeys
from fntx_sessions.security.roles import ADMIN, SYSTEM
from fntx_sessions.security.tokens import expires_in_s, issue
from fntx_sessions.settings import Settings, get_settings

ADMIN_TOKEN_TTL_S = 30 * 86_400
ADMIN_TOKEN_RENEW_BELOW_S = 7 * 86_400


def ensure_local_keys(home: Path) -> LocalKeys:
    """Make what `home` lacks: key pair, key ring, and an administrator's token of 30 days, renewed in its last 7.

    A desk that keeps its key ring elsewhere gets none here.

    Readable by this user alone. Raises StackError when the folder is not usable.
    """
    found = keys.ensure_key_pair(home)
    local = Settings(home=home, token_private_key_file=None, token_public_key_file=None)
    if local.key_ring is None and local.key_ring_file is None:
        ensure_ring(home)
    held = _read(found.admin_token_file)
    if held is None or expires_in_s(held, local) < ADMIN_TOKEN_RENEW_BELOW_S:
        token = issue(local, "admin", [ADMIN], ADMIN_TOKEN_TTL_S)
        try:
            keys.write_private(found.admin_token_file, token.encode())
        except OSError as error:
            raise StackError(f"cannot write {found.admin_token_file}: {error.strerror}", "Set FNTX_HOME.") from error
    return found


def current_token(settings: Settings | None = None) -> str | None:
    """Return the token a caller on this machine sends: FNTX_TOKEN, else the home's administrator's, else None."""
    settings = settings or get_settings()
    if settings.token is not None:
        return settings.token.get_secret_value()
    return _read(LocalKeys.of(settings.home).admin_token_file)


class _SystemTokens:
    """One short-lived token per private key, renewed at half its life; threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Path, tuple[str, float]] = {}

    def get(self, settings: Settings, host: str) -> str:
        path = keys.private_key_file(settings)
        with self._lock:
            token, renew_at = self._held.get(path, ("", 0.0))
            if time.time() >= renew_at:
                token = issue(settings, "system", [SYSTEM], settings.system_token_ttl_s, host=host)
                self._held[path] = (token, time.time() + settings.system_token_ttl_s / 2)
            return token


_system_tokens = _SystemTokens()


def process_token(settings: Settings | None = None, *, host: str = "") -> str | None:
    """Return a fresh token of the system's own, for what workers and beat send; None without the private key.

    Raises StackError when the key is there but not usable.
    """
    settings = settings or get_settings()
    if not keys.private_key_file(settings).exists():
        return None
    return _system_tokens.get(settings, host)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return None
