"""What a page denies: told in the log, and where somebody wanted to act, in the audit as a worker's denial is."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from socket import gethostname
from typing import Any
from uuid import UUID

import structlog
import tornado.web

from fntx_sessions.exceptions import Forbidden, Retryable
from fntx_sessions.lifecycle import denying
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.monitoring.flower.who import Viewer
from fntx_sessions.security.denials import allowance
from fntx_sessions.security.roles import permit

log = structlog.get_logger(__name__)
# After as long, the minute of which something was counted is over.
_COUNTED_AFTER_S = 60.0


class PageDenied(tornado.web.HTTPError):
    """A 403 for lack of authority. told: to whom asked; action: what they asked for, by the table of roles."""

    def __init__(self, told: str, viewer: Viewer, action: str, session_id: UUID | None) -> None:
        super().__init__(403, told)
        self.viewer, self.action, self.session_id = viewer, action, session_id

    def note(self) -> None:
        """Log it, in place of Tornado's own line, which is a sentence without names."""
        about = str(self.session_id) if self.session_id else None
        log.warning("page_denied", actor=self.viewer.actor.name, session_id=about, action=self.action)


def audit(desk: Desk, found: PageDenied, form: Mapping[str, str], target: str) -> None:
    """Write down what a login's token did not allow, by the function and within the limits of workers; in a thread.

    form: of which ids alone are kept; target: what it was about where they name nothing. Of those who only look
    nothing is written: nobody was verified.
    """
    viewer, session_id = found.viewer, found.session_id
    if viewer.token is None:
        return
    try:
        permit(viewer.actor, found.action, session_id)
    except Forbidden as error:
        asked: dict[str, Any] = {**form, "session_id": str(session_id) if session_id else None}
        deed = denying.deed_of(error, found.action, asked)
        counting = allowance.waiting
        denying.denied(desk, viewer.actor, replace(deed, target=deed.target or target), session_id)
        if allowance.waiting and not counting:
            _count_later(desk)


def _count_later(desk: Desk) -> None:
    later = threading.Timer(_COUNTED_AFTER_S, _write_counted, (desk,))
    later.daemon = True
    later.start()


def _write_counted(desk: Desk) -> None:
    try:
        denying.note_counted(desk.engine, gethostname())
    except Retryable as error:
        log.warning("refusals_not_written_down", problem=str(error))
    if allowance.waiting:
        _count_later(desk)
