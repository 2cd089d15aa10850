"""The address of a session by the first characters of its id, as pages and `fntx` show it: leads to the whole one."""

from uuid import UUID

import tornado.web
from sqlalchemy import Engine

from fntx_sessions.caller.ids import only, prefix_question, whole_or_prefix
from fntx_sessions.exceptions import NotFound, Rejected, Retryable
from fntx_sessions.lifecycle.arguments import ListArguments
from fntx_sessions.lifecycle.reads.sessions import list_sessions
from fntx_sessions.monitoring.flower.guarded import Guarded
from fntx_sessions.parsing import parse
from fntx_sessions.security.actor import Actor

SHORT = r"([0-9a-f]{4}[0-9a-f-]{0,31})"


class ShortId(Guarded):
    """Answers `/sessions/841919c5`."""

    @tornado.web.authenticated
    async def get(self, given: str) -> None:
        """Lead to the one session that begins so; 404 where none does that one may see, 400 for several."""
        actor, site = self.viewer.actor, self.site
        key = "short", given, self.viewer.key
        try:
            session_id = await site.views.once(key, lambda: found(site.desk.engine, given, actor))
        except Rejected as error:
            raise tornado.web.HTTPError(404 if isinstance(error, NotFound) else 400, str(error)) from None
        except Retryable as error:
            raise tornado.web.HTTPError(503, str(error)) from None
        self.redirect(self.link(session_id))


def found(engine: Engine, given: str, actor: Actor) -> UUID:
    """Return the id of the session in a caller's scope that begins so; raises NotFound, InvalidArgument, Retryable."""
    digits = whole_or_prefix(given)
    if isinstance(digits, UUID):
        return digits
    listed = list_sessions(engine, parse(ListArguments, prefix_question(digits)), actor)
    return only(given, [{"session_id": str(one.session_id)} for one in listed])
