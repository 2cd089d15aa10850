"""Who looks at a page, and what they may do there."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from uuid import UUID

from sqlalchemy import Engine

from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import ADMIN, VIEW, VIEWER, may, permit
from fntx_sessions.security.scope import admitted


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
    def scoped(self) -> bool:
        """Tell whether they may see some sessions alone."""
        return self.actor.scoped

    @property
    def scope(self) -> tuple[tuple[str, ...], ...]:
        """What they may see, as a key: who may see the same shares a drawing."""
        return tuple(tuple(sorted(one)) for one in (self.actor.sessions, self.actor.templates, self.actor.tags))

    def sees(self, session_id: UUID) -> bool:
        """Tell whether a session is known to be one of those they may see."""
        return self.actor.reaches(session_id)

    def may_see(self, session_id: UUID) -> bool:
        """Tell whether a session may be one of those, as far as can be told without its row."""
        return self.sees(session_id) or self.actor.scoped_by_kind

    def knowing(self, session_ids: Iterable[UUID]) -> "Viewer":
        """Return the viewer, knowing of sessions that were looked up that they are in scope."""
        if not self.actor.scoped_by_kind:
            return self
        return replace(self, actor=replace(self.actor, admitted=frozenset(map(str, session_ids))))

    def looked_up(self, engine: Engine, session_id: UUID) -> "Viewer":
        """Return the viewer of one session, asking its row where only that tells; raises Forbidden, Retryable."""
        found = replace(self, actor=admitted(engine, self.actor, session_id))
        permit(found.actor, VIEW, session_id)
        return found

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
        return self.token is not None and ADMIN in self.actor.roles and not self.scoped


def looking(name: str) -> Viewer:
    """Return somebody who may look at everything and do nothing."""
    return Viewer(Actor(name, frozenset({VIEWER})))
