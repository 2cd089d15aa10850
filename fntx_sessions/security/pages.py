"""The login of Flower's pages: there always is one."""

import secrets
from pathlib import Path

from fntx_sessions.exceptions import StackError
from fntx_sessions.security.private_files import create_private
from fntx_sessions.settings import Settings

USER = "fntx"


def password_file(home: Path) -> Path:
    """Return where the local login is kept: one line, ``user:password``, readable by this user alone."""
    return home / "flower.password"


def flower_login(settings: Settings) -> list[str]:
    """Return Flower's logins: FNTX_FLOWER_BASIC_AUTH (comma-separated), else the local one, made on first use.

    Raises StackError for a setting that is no login, or a home that cannot be written: Flower never starts open.
    """
    if settings.flower_basic_auth is not None:
        return _given(settings.flower_basic_auth.get_secret_value())
    path = password_file(settings.home)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        create_private(path, f"{USER}:{secrets.token_urlsafe(18)}\n".encode())
        return _given(path.read_text().strip())
    except OSError as error:
        raise StackError(f"cannot keep Flower's password in {path}: {error.strerror}", "Set FNTX_HOME.") from error


def _given(text: str) -> list[str]:
    logins = [login.strip() for login in text.split(",")]
    if not all(user and password for user, _, password in (login.partition(":") for login in logins)):
        fix = "Set FNTX_FLOWER_BASIC_AUTH to user:password, or delete HOME/flower.password."
        raise StackError("Flower's login is not of the form user:password", fix)
    return logins
