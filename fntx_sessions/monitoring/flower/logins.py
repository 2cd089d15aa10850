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
    token_id: str
    ends_at: float


class Logins:
    """Logins by their ids; the oldest makes room where one token, or all, have too many. For several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._held: OrderedDict[str, _Login] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, token: str) -> str:
        """Return the id of a new login with a token; raises Unauthenticated for one that does not verify."""
        token_id = verify(token, self._settings, wait=False).token_id
        login = secrets.token_urlsafe(32)
        with self._lock:
            self._make_room(token_id)
            self._held[login] = _Login(token, token_id, time.monotonic() + self._settings.flower_login_max_s)
        return login

    def _make_room(self, token_id: str) -> None:
        """Leave a place for one more with a token: its own oldest go first, so that one token cannot end the others."""
        theirs = [login for login, held in self._held.items() if held.token_id == token_id]
        for login in theirs[: max(0, len(theirs) + 1 - self._settings.flower_logins_each_max)]:
            del self._held[login]
        while len(self._held) >= self._settings.flower_logins_max:
            self._held.popitem(last=False)

    def viewer(self, login: str) -> Viewer | None:
        """Return who is behind an id; None where it was ended, is too old, or its token is not good any more."""
        with self._lock:
            held = self._held.get(login)
        if held is None or time.monotonic() >= held.ends_at:
            self.end(login)
            return None
        try:
            return Viewer(verify(held.token, self._settings, wait=False), held.token, login)
        except Unauthenticated:
            self.end(login)
            return None

    def end(self, login: str) -> None:
        """Forget a login and its token."""
        with self._lock:
            self._held.pop(login, None)
