"""Who looks at a page, and what they may do there."""

from dataclasses import dataclass, field
from uuid import UUID

from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import ADMIN, VIEWER, may


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whoever is behind a request. token: the person's own, which commands are sent with; None: they only look.

    login: the id of their login here, by which it is ended; empty for those who send a token or a password with each
    request, and only look.
    """

    actor: Actor
    token: str | None = field(default=None, repr=False)
    login: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Return the name that Flower's own pages show."""
        return self.actor.name

    @property
    def scope(self) -> list[UUID] | None:
        """The sessions they may see; None: all."""
        return sorted(UUID(one) for one in self.actor.sessions) if self.actor.sessions else None

    def sees(self, session_id: UUID) -> bool:
        """Tell whether a session is one of those they may see."""
        return not self.actor.sessions or str(session_id) in self.actor.sessions

    def may(self, action: str) -> bool:
        """Tell whether they may do `action`, as far as roles go; the worker that does it asks again, of the token."""
        return self.token is not None and may(self.actor, action)

    @property
    def key(self) -> str:
        """What is theirs alone: the id of their token; of those without one, the name that they share."""
        return self.actor.token_id or self.actor.name

    @property
    def controls_workers(self) -> bool:
        """Tell whether Flower's own controls are theirs, where those are opened at all."""
        return self.token is not None and ADMIN in self.actor.roles and not self.actor.sessions


def looking(name: str) -> Viewer:
    """Return somebody who may look at everything and do nothing."""
    return Viewer(Actor(name, frozenset({VIEWER})))
