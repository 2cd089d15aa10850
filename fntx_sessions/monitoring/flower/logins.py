"""Who is logged in: tokens stay here, in this process's memory; a browser holds an id that means nothing elsewhere."""

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from fntx_sessions.exceptions import Unauthenticated
from fntx_sessions.monitoring.flower.who import Viewer
from fntx_sessions.security.tokens import verify
from fntx_sessions.settings import Settings


@dataclass(frozen=True, slots=True, repr=False)
class _Login:
    token: str
    ends_at: float


class Logins:
    """Logins by their ids; the oldest makes room where there are too many. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._held: OrderedDict[str, _Login] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, token: str) -> str:
        """Return the id of a new login with a token; raises Unauthenticated for one that does not verify."""
        verify(token, self._settings)
        login = secrets.token_urlsafe(32)
        with self._lock:
            self._held[login] = _Login(token, time.monotonic() + self._settings.flower_login_max_s)
            while len(self._held) > self._settings.flower_logins_max:
                self._held.popitem(last=False)
        return login

    def viewer(self, login: str) -> Viewer | None:
        """Return who is behind an id; None where it was ended, is too old, or its token is not good any more."""
        with self._lock:
            held = self._held.get(login)
        if held is None or time.monotonic() >= held.ends_at:
            self.end(login)
            return None
        try:
            return Viewer(verify(held.token, self._settings), held.token, login)
        except Unauthenticated:
            self.end(login)
            return None

    def end(self, login: str) -> None:
        """Forget a login and its token."""
        with self._lock:
            self._held.pop(login, None)
