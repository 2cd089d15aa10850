"""The login that the house's processes use: a member of `fntx_app`, made by whoever migrates as the owner."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.extensions
from psycopg2.sql import SQL, Identifier, Literal
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ProgrammingError

from fntx_sessions.database.engine import driven
from fntx_sessions.database.rights import APP
from fntx_sessions.exceptions import StackError

_CONNECT_S = 5
_KNOWN = "SELECT pg_has_role(rolname, %s, 'USAGE') FROM pg_roles WHERE rolname = %s"


def ensure_login(owner_url: str, login_url: str) -> bool:
    """Make the login that `login_url` names, with its password, and a member of `fntx_app`; return whether it was made.

    Nothing happens where both URLs name the same user. A login that is there keeps its password. Raises StackError when
    the owner may not make one.
    """
    owner, login = make_url(driven(owner_url)), make_url(driven(login_url))
    if login.username in {None, owner.username}:
        return False
    connection = connected(owner)
    try:
        with connection, connection.cursor() as cursor:
            return _ensure(connection, cursor, str(login.username), login.password)
    except psycopg2.errors.InsufficientPrivilege as error:
        raise _not_made(str(login.username), error) from error
    finally:
        connection.close()


@contextmanager
def owning() -> Iterator[None]:
    """Run a block that changes tables; raises StackError where the user who does may not."""
    try:
        yield
    except ProgrammingError as error:
        if not isinstance(error.orig, psycopg2.errors.InsufficientPrivilege):
            raise
        told = str(error.orig).strip().splitlines()[0]
        fix = "Set FNTX_MAINTENANCE_DATABASE_URL to the owner's address, for `fntx migrate` and the sweeps' worker."
        raise StackError(f"this user may not migrate: {told}; nothing was changed", fix) from error


def connected(url: URL) -> Any:
    """Return a connection of psycopg2's own for what SQLAlchemy is no help with."""
    options: dict[str, Any] = {
        **url.query,
        "host": url.query.get("host") or url.host,
        "port": url.query.get("port") or url.port,
    }
    return psycopg2.connect(
        user=url.username, password=url.password, dbname=url.database, connect_timeout=_CONNECT_S, **options
    )


def _ensure(connection: Any, cursor: Any, name: str, password: str | None) -> bool:
    cursor.execute(_KNOWN, (APP, name))
    found = cursor.fetchone()
    if found is None:
        # Sent as what the server would store, so that no log of statements holds the password.
        hashed = psycopg2.extensions.encrypt_password(password, name, connection, "scram-sha-256") if password else None
        secret = SQL(" PASSWORD {}").format(Literal(hashed)) if hashed else SQL("")
        cursor.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(name)) + secret)
    if found is None or not found[0]:
        cursor.execute(SQL("GRANT {} TO {}").format(Identifier(APP), Identifier(name)))
    return found is None


def _not_made(name: str, error: Exception) -> StackError:
    told = str(error).strip().splitlines()[0]
    fix = f"As an administrator of that server: CREATE ROLE {name} LOGIN PASSWORD '...'; GRANT {APP} TO {name};"
    return StackError(f"the login {name} could not be made a member of {APP}: {told}", fix)
