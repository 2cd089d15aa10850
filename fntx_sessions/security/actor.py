"""Who asks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Actor:
    """A verified caller.

    name: the token's subject. host: where a system actor runs. token_id: the token's id, for the audit.
    sessions, templates, tags: what the token is good for, sessions by id, by template or by tag; all empty: everything.
    confirmed_by: who agreed to what they ask, where that takes two people.
    """

    name: str
    roles: frozenset[str]
    host: str = ""
    token_id: str = ""
    sessions: frozenset[str] = frozenset()
    templates: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    confirmed_by: str = ""

    def role_list(self) -> str:
        """Return the roles as one sorted, comma-separated string: the form the audit stores."""
        return ",".join(sorted(self.roles))


def system_actor(host: str) -> Actor:
    """Return the actor of what the system does by itself on `host`: sweeps, rules, health."""
    return Actor("system", frozenset({"system"}), host=host)
