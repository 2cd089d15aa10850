"""Who asks."""

from dataclasses import dataclass, replace
from uuid import UUID


@dataclass(frozen=True)
class Actor:
    """A verified caller.

    name: the token's subject. host: where a system actor runs. token_id: the token's id, for the audit. issued_at:
    when the token was, in seconds since 1970; None: there is no token. ends_at: when it is over, likewise. key_id: of
    the key that signed it. sessions, templates, tags: what the token is good for, sessions by id, by template or by
    tag, any of them; all empty: everything. admitted: sessions that were looked up and found in scope by template or
    tag. confirmed_by: who agreed to what they ask, where that takes two; confirmed_roles: theirs.
    simulated: what they do now is a day of a backtest, which moves nobody's money and so waits for no second.
    """

    name: str
    roles: frozenset[str]
    host: str = ""
    token_id: str = ""
    sessions: frozenset[str] = frozenset()
    templates: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    confirmed_by: str = ""
    confirmed_roles: frozenset[str] = frozenset()
    issued_at: float | None = None
    admitted: frozenset[str] = frozenset()
    ends_at: float | None = None
    key_id: str = ""
    simulated: bool = False

    @property
    def scoped(self) -> bool:
        """Tell whether the token is good for some sessions alone."""
        return bool(self.sessions or self.templates or self.tags)

    @property
    def scoped_by_kind(self) -> bool:
        """Tell whether only a session's row says if the token is good for it."""
        return bool(self.templates or self.tags)

    def reaches(self, session_id: UUID | str | None) -> bool:
        """Tell whether a session is known to be in scope; None, which names none, is in no narrowed one."""
        return not self.scoped or str(session_id) in self.sessions or str(session_id) in self.admitted

    def everywhere(self) -> "Actor":
        """Return the caller as one without a scope: for what roles alone decide, whatever it is then done to."""
        return replace(self, sessions=frozenset(), templates=frozenset(), tags=frozenset())

    def role_list(self) -> str:
        """Return the roles as one sorted, comma-separated string: the form the audit stores."""
        return ",".join(sorted(self.roles))


def system_actor(host: str) -> Actor:
    """Return the actor of what the system does by itself on `host`: sweeps, rules, health."""
    return Actor("system", frozenset({"system"}), host=host)
