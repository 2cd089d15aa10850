"""Tokens that are refused though they are signed: one by its id, or all of a name that were issued until a moment.

Each process knows the list and looks again every `token_revocations_refresh_s`; while Postgres is away, the last known
one holds.
"""

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from fntx_sessions.database.engine import driven, get_engine, rows, statements
from fntx_sessions.exceptions import FntxError, Unauthenticated
from fntx_sessions.security.actor import Actor
from fntx_sessions.settings import Settings, get_settings

_FIX = "Ask whoever revoked it; they may issue you a new one."
_READ = text("""
SELECT token_id, subject, issued_until, revoked_by, revoked_at, reason FROM revoked_tokens WHERE forget_at > now()
""")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Revoked:
    """What is refused: by whom, since when and why. until: of a name, the moment its tokens were issued before."""

    by: str
    at: datetime
    reason: str
    until: float | None = None

    def told(self) -> str:
        """Return it as a refusal says it."""
        why = f": {self.reason}" if self.reason else ""
        return f"the token was revoked by {self.by} at {self.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC{why}"


@dataclass(frozen=True, slots=True)
class Known:
    """The list as it was found. A name has one entry, that of the latest moment."""

    tokens: dict[str, Revoked]
    names: dict[str, Revoked]

    @staticmethod
    def of(found: Iterable[dict[str, Any]]) -> "Known":
        """Return the list that rows of the table make."""
        known = Known({}, {})
        for row in found:
            until = row["issued_until"].timestamp() if row["issued_until"] else None
            revoked = Revoked(row["revoked_by"], row["revoked_at"], row["reason"], until)
            if until is None:
                known.tokens[row["token_id"]] = revoked
            elif (held := known.names.get(row["subject"])) is None or (held.until or 0.0) < until:
                known.names[row["subject"]] = revoked
        return known

    def about(self, actor: Actor) -> Revoked | None:
        """Return why a caller's token is refused; None: it is not."""
        if (found := self.tokens.get(actor.token_id)) is not None:
            return found
        named = self.names.get(actor.name)
        issued_at = actor.issued_at or 0.0
        return named if named is not None and issued_at <= (named.until or 0.0) else None


class Revocations:
    """What this process knows of the list of one database. For several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._known = Known({}, {})
        self._look_at = 0.0
        self._kept_fresh = False
        self._away = False

    def known(self, *, wait: bool) -> Known:
        """Return the list, looked up anew where it is time to and `wait` is asked for."""
        if wait and not self._kept_fresh and time.monotonic() >= self._look_at:
            # Who comes while another looks takes what is known, unless nothing ever was.
            with self._looking:
                if time.monotonic() >= self._look_at:
                    self.look()
        return self._known

    def look(self) -> bool:
        """Look the list up, and tell whether that succeeded; what was known holds where it did not."""
        try:
            with statements(_engine(self._settings)) as connection:
                found = Known.of(rows(connection.execute(_READ)))
        except (FntxError, SQLAlchemyError) as error:
            self._note_away(str(error))
            return False
        else:
            self._known, self._away = found, False
            return True
        finally:
            self._look_at = time.monotonic() + self._settings.token_revocations_refresh_s

    def _note_away(self, problem: str) -> None:
        if not self._away:
            log.warning("revocations_not_seen", problem=problem, known=len(self._known.tokens) + len(self._known.names))
        self._away = True

    def keep_fresh(self) -> None:
        """Have a thread look, for a process that must not wait for Postgres while it answers."""
        with self._lock:
            if self._kept_fresh:
                return
            self._kept_fresh = True
        threading.Thread(target=self._keep, name="fntx-revocations", daemon=True).start()

    def _keep(self) -> None:
        while True:
            self.look()
            time.sleep(self._settings.token_revocations_refresh_s)


_held: dict[tuple[str, float], Revocations] = {}
# Threads end with a fork, and a lock that another one held stays held.
os.register_at_fork(after_in_child=_held.clear)


def revocations_of(settings: Settings) -> Revocations | None:
    """Return what this process knows of revoked tokens; None without a database."""
    if settings.database_url is None:
        return None
    key = (settings.database_url.get_secret_value(), settings.token_revocations_refresh_s)
    return _held.get(key) or _held.setdefault(key, Revocations(settings))


def _engine(settings: Settings) -> Engine:
    """Return the process's own engine where it is of that database, else one that keeps no connection."""
    if settings.database_url == get_settings().database_url:
        return get_engine()
    wait_s = settings.db_connect_timeout_s
    url = driven(settings.database_url.get_secret_value() if settings.database_url else "")
    return create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": wait_s})


def refuse_revoked(actor: Actor, settings: Settings, *, wait: bool = True) -> None:
    """Raise Unauthenticated where the caller's token was revoked, as far as this process knows by now."""
    found = revocations_of(settings)
    if found is not None and (revoked := found.known(wait=wait).about(actor)) is not None:
        raise Unauthenticated(revoked.told(), _FIX)


def keep_fresh(settings: Settings) -> None:
    """Have a thread of this process look the list up, so that `refuse_revoked` without waiting knows it."""
    found = revocations_of(settings)
    if found is not None:
        found.keep_fresh()
