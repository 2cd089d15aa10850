"""Opening credentials: those of a session, and where it has none of that name its template's."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import statements
from fntx_sessions.lifecycle.credentials.holders import Holder
from fntx_sessions.security.known_secrets import InUse
from fntx_sessions.settings import Settings
from fntx_sessions.state.codec import Codec
from fntx_sessions.state.data_keys import DataKeys

# A session's own comes last, and so takes the place of its template's.
_FOR_SESSION = text("""
SELECT c.session_id, c.template_name, c.name, c.version, c.sealed FROM sessions s
JOIN credentials c ON c.session_id = s.session_id OR c.template_name = s.template_name
WHERE s.session_id = :session_id AND c.sealed IS NOT NULL
ORDER BY c.session_id NULLS FIRST
""")


@dataclass(frozen=True, slots=True)
class Opened:
    """One credential that was opened; nothing shows its value."""

    name: str
    version: int
    value: SecretStr


def credentials_of(engine: Engine, settings: Settings, session_id: UUID) -> dict[str, Opened]:
    """Return a session's credentials by name, as they are now; raises Shredded, Unavailable and IntegrityError."""
    with statements(engine) as connection:
        found = connection.execute(_FOR_SESSION, {"session_id": session_id}).all()
    codec = Codec(DataKeys(engine, settings))
    return {row.name: _opened(codec, row) for row in found}


def _opened(codec: Codec, row: Any) -> Opened:
    holder = Holder(row.session_id, row.template_name)
    value = codec.decode(bytes(row.sealed), holder.label(row.name, row.version)).decode()
    return Opened(row.name, row.version, SecretStr(value))


class Opener(Mapping[str, SecretStr]):
    """The credentials of one session for one step: asked for when an agent first looks, anew in each step.

    Shows names only; what would store or send it is refused. Values are told by `get_secret_value()`.
    """

    def __init__(self, engine: Engine, settings: Settings, session_id: UUID, use: InUse) -> None:
        self._engine = engine
        self._settings = settings
        self._session_id = session_id
        self._use = use
        self._held: dict[str, SecretStr] | None = None

    def __getitem__(self, name: str) -> SecretStr:
        """Return one; raises KeyError naming those there are, Shredded, Unavailable and IntegrityError."""
        held = self._opened()
        if name not in held:
            raise KeyError(f"there is no credential {name!r}; there are: {', '.join(held) or 'none'}")
        return held[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened())

    def __len__(self) -> int:
        return len(self._opened())

    def __repr__(self) -> str:
        return f"<credentials of session {self._session_id}, values hidden>"

    def __reduce__(self) -> NoReturn:
        msg = "credentials are not stored: ask for them in each step"
        raise TypeError(msg)

    def _opened(self) -> dict[str, SecretStr]:
        if self._held is None:
            found = credentials_of(self._engine, self._settings, self._session_id)
            self._held = {name: one.value for name, one in found.items()}
            told = {name: value.get_secret_value() for name, value in self._held.items()}
            self._use.hold(told, self._settings.credential_known_s)
        return self._held
