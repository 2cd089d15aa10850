"""Who asks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Actor:
    """A verified caller.

    name: the token's subject. host: where a system actor runs. token_id: the token's id, for the audit.
    sessions: the session ids the token is good for; empty means all.
    """

    name: str
    roles: frozenset[str]
    host: str = ""
    token_id: str = ""
    sessions: frozenset[str] = frozenset()

    def role_list(self) -> str:
        """Return the roles as one sorted, comma-separated string: the form the audit stores."""
        return ",".join(sorted(self.roles))


def system_actor(host: str) -> Actor:
    """Return the actor of what the system does by itself on `host`: sweeps, rules, health."""
    return Actor("system", frozenset({"system"}), host=host)
