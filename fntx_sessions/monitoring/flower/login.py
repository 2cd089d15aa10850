"""The login: a token of the desk for people, a password for those who only look."""

import hmac
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import Any

import tornado.web
from flower.views import BaseHandler
from flower.views.auth import get_next_url

from fntx_sessions.exceptions import Unauthenticated
from fntx_sessions.monitoring.flower.guarded import Guarded
from fntx_sessions.monitoring.flower.site import Site
from fntx_sessions.monitoring.flower.who import Viewer, looking
from fntx_sessions.security.denials import denials
from fntx_sessions.security.tokens import verify

COOKIE = "fntx_login"
# Flower's own requests that change workers or send tasks; its POST that only looks is not among them.
_LOOKS = frozenset({"TasksDataTable"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def current_user(handler: Any) -> Viewer | None:
    """Return who asks, for every page of Flower, theirs and ours; None sends a browser to the login.

    Raises HTTPError 401 for a password that does not fit, 403 where a login is not enough for what is asked.
    """
    found = _known(handler)
    if found is not None and not isinstance(handler, Guarded):
        _may_use_flower(handler, found)
    return found


def still_in(handler: Any) -> bool:
    """Tell whether who asked is still who they were, by login or header, as a new request would be asked."""
    try:
        return bool(_known(handler) == handler.current_user)
    except tornado.web.HTTPError:
        return False


def _known(handler: Any) -> Viewer | None:
    site: Site = handler.application.settings["fntx_site"]
    if handler.request.headers.get("Authorization"):
        return _by_header(handler)
    cookie = handler.get_secure_cookie(COOKIE)
    viewer = site.logins.viewer(cookie.decode()) if cookie else None
    if viewer is None and site.settings.flower_auth == "open":
        return looking("anonymous")
    return viewer


def _by_header(handler: Any) -> Viewer:
    """Return who a request's own header says is there: a token, or a password. With either they only look."""
    kind, _, given = handler.request.headers["Authorization"].partition(" ")
    if kind.lower() == "bearer":
        return _by_token(handler, given.strip())
    try:
        login = b64decode(given, validate=True).decode()
    except ValueError:
        login = ""
    for known in handler.application.options.basic_auth or ():
        if kind.lower() == "basic" and hmac.compare_digest(known.encode(), login.encode()):
            return looking(login.partition(":")[0])
    raise tornado.web.HTTPError(401, "That is no user and password of this desk.")


def _by_token(handler: Any, token: str) -> Viewer:
    try:
        return Viewer(verify(token, handler.application.settings["fntx_site"].settings, wait=False))
    except Unauthenticated as error:
        denials.count(str(error))
        raise tornado.web.HTTPError(401, str(error).replace("%", "%%")) from None


def _may_use_flower(handler: Any, viewer: Viewer) -> None:
    """Refuse Flower's own pages, which show every session's tasks, to those of some sessions; and controls to most."""
    if viewer.scoped:
        raise tornado.web.HTTPError(403, "Your token is good for some sessions alone: see them under Sessions.")
    looks = handler.request.method in _SAFE_METHODS or type(handler).__name__ in _LOOKS
    if not looks and not viewer.controls_workers:
        raise tornado.web.HTTPError(403, "Workers are controlled by administrators who log in with a token.")


class LoginHandler(Guarded):
    """Takes a token."""

    def get(self) -> None:
        """Show the form."""
        self._form("")

    def post(self) -> None:
        """Begin a login, or say why not."""
        token = self.get_body_argument("token", "").strip()
        try:
            login = self.site.logins.begin(token)
        except Unauthenticated as error:
            denials.count(str(error))
            self.set_status(403)
            self._form(str(error))
            return
        secure = self.site.settings.flower_behind_tls or self.request.protocol == "https"
        # Lax, not Strict: a link that a colleague sends must open. Forms have their own guard.
        self.set_secure_cookie(
            COOKIE, login, expires_days=None, path=self.prefixed("") or "/", secure=secure, samesite="Lax"
        )
        self.redirect(self._following())

    def _following(self) -> str:
        """Return where they wanted to go, on this site; else the board."""
        given = self.get_argument("next", "")
        # An address has neither blanks nor what cannot be printed: such a one was not made by us.
        return str(get_next_url(self)) if given.isprintable() and given and " " not in given else self.link()

    def _form(self, problem: str) -> None:
        self.show(
            "login.html", title="Log in", tab="", problem=problem or None, at=None, live=False, parts={},
            following=self._following(),
        )  # fmt: skip


class LogoutHandler(Guarded):
    """Ends a login."""

    def get(self) -> None:
        """End it and show the form: Flower's menu has a link there."""
        cookie = self.get_secure_cookie(COOKIE)
        if cookie:
            self.site.logins.end(cookie.decode())
            self.site.acting.end(cookie.decode())
        self.clear_cookie(COOKIE, path=self.prefixed("") or "/")
        self.redirect(self.prefixed("/login"))


class PasswordHandler(Guarded):
    """Has a browser ask for user and password, of those who only look: it sends them with each request from then on."""

    def get(self) -> None:
        """Ask for them; go to the board once they fit."""
        if not self.request.headers.get("Authorization"):
            raise tornado.web.HTTPError(401, "User and password, please: see `fntx up`, or log in with a token.")
        _by_header(self)
        self.redirect(self.link())


# What Flower's page of workers has inside it: whether it asks anew by itself. Without it that page stands still.
_FLOWER_SCRIPTS = tuple(f"\nvar autorefresh = {given};\n" for given in (0, 1))
_ALLOWED = " ".join(f"'sha256-{b64encode(sha256(one.encode()).digest()).decode()}'" for one in _FLOWER_SCRIPTS)
# For Flower's own pages, which have a style or two inside them.
_FLOWER_SECURITY = (
    f"default-src 'self'; script-src 'self' {_ALLOWED}; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_own_headers = BaseHandler.set_default_headers


def _with_security(handler: Any) -> None:
    _own_headers(handler)
    handler.set_header("Content-Security-Policy", _FLOWER_SECURITY)
    handler.set_header("Referrer-Policy", "same-origin")


def put_in() -> None:
    """Have Flower ask us who is there, wherever it asks: it has no hook that knows passwords and logins."""
    BaseHandler.get_current_user = current_user
    BaseHandler.set_default_headers = _with_security
