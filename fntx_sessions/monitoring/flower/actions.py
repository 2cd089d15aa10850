"""The pages on which something is done: what will happen, a form, and what became of it."""

from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import structlog
import tornado.web
from tornado.ioloop import IOLoop
from tornado.web import url

from fntx_sessions.exceptions import InvalidArgument, Rejected, Retryable, verb
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.head import session_head
from fntx_sessions.monitoring.flower.act import Act, Form, Target
from fntx_sessions.monitoring.flower.act_ended import UNKNOWN, UNSEEN, since_then
from fntx_sessions.monitoring.flower.act_halts import PLACE, RELEASE
from fntx_sessions.monitoring.flower.act_people import ACKNOWLEDGE, APPROVE, REJECT
from fntx_sessions.monitoring.flower.act_second import CONFIRM, DECLINE
from fntx_sessions.monitoring.flower.act_session import SESSION_ACTS
from fntx_sessions.monitoring.flower.acting import Deed
from fntx_sessions.monitoring.flower.asking import number, whole
from fntx_sessions.monitoring.flower.page import Asked, Draw, Page, PageHandler
from fntx_sessions.monitoring.flower.page_denied import PageDenied, audit
from fntx_sessions.monitoring.flower.views import Parts, View
from fntx_sessions.monitoring.flower.who import Viewer

log = structlog.get_logger(__name__)
ID = r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
_FIX = "Go back to the session, and begin anew."
GRADES = {
    "done": "Done.",
    "over": "It is over.",
    "refused": "Refused: nothing was changed by it.",
    "under way": "Under way.",
    "waits": "It takes two people, and waits for the second.",
    "unknown": "Not known: nobody answered.",
    "not done": "Not done.",
    "not known": "Not known here.",
}


class ActPage(Page):
    """What is about to be done; or, where the address names a command, what became of it."""

    template = "act.html"

    def __init__(self, act: Act, target: Target, deed: Deed | None, viewer: Viewer) -> None:
        self.act, self.target, self.deed, self.viewer = act, target, deed, viewer
        self.whole_desk = act.whole_desk  # type: ignore[misc]  # of the class elsewhere, of the act here

    def title(self, asked: Asked) -> str:
        """Return what is done to what."""
        _ = asked
        return self.act.title(self.target)

    def draw(self, desk: Desk, asked: Asked, draw: Draw) -> Parts:
        """Draw what will happen, or what became of it."""
        if asked.get("command"):
            return self._ended(desk, asked, draw)
        look = self.act.look(desk, asked.viewer, self.target, asked.arguments)
        facts = draw(self.act.facts_template, look=look, **look.facts)
        asks = look.facts.get("scope", "") is not None
        return {
            "act-shown": draw.part("act_shown.html", look=look, facts=facts),
            "act-send": draw.part("act_send.html", look=look, act=self.act, asks=asks),
        }

    def _ended(self, desk: Desk, asked: Asked, draw: Draw) -> Parts:
        command_id, session_id = as_uuid(asked.get("command"), "command"), self.target.session_id
        seen_by = self.deed is not None or self.act.may_see(desk, self.viewer, command_id)
        found = self.act.ended(desk, self.target, command_id, self.deed) if seen_by else UNKNOWN
        now = session_head(desk.engine, session_id) if session_id else None
        seen = number(asked, "seen")
        since = since_then(desk, session_id, seen, command_id) if session_id and seen else []
        return _end(draw, command_id=command_id, found=found, now=now, since_then=since)

    def remembered(self, asked: Asked, draw: Draw) -> Parts:
        """Draw what this process knows of the command, without asking a store."""
        found = self.act.remembered(self.target, self.deed) if self.deed else UNSEEN
        return _end(draw, command_id=as_uuid(asked.get("command"), "command"), found=found, now=None, since_then=[])


def _end(draw: Draw, **facts: Any) -> Parts:
    return {"act-ended": draw.part("act_ended.html", GRADES=GRADES, verb=verb, **facts)}


class ActHandler(PageHandler):
    """Shows what will happen, sends the command, and shows what became of it."""

    page: ActPage

    def initialize(self, act: Act | None = None) -> None:  # type: ignore[override]  # it makes its page by itself
        """Take what is done, by the rule's arguments; None: the address says which."""
        self._given = act

    @tornado.web.authenticated
    async def get(self, *ids: str) -> None:
        """Show what will happen, with a form; or, with `command`, what became of it."""
        asked = self._begun(*ids)
        if self.streams:
            await self._stream(asked)
        else:
            await self._shown(asked)

    @tornado.web.authenticated
    async def post(self, *ids: str) -> None:
        """Send the command, wait a moment for its outcome, and go where that is shown."""
        form = {name: self.get_body_argument(name, strip=False) for name in self.request.body_arguments}
        try:
            asked = self._begun(*ids)
        except PageDenied as error:
            await self._audited(error, form)
            raise
        try:
            deed = self._deed(form)
        except InvalidArgument as error:
            self.set_status(400)
            await self._shown(asked, fault=_faulty(error), form=form)
            return
        await deed.within(self.site.settings.pages_act_wait_s)
        question = {"command": str(deed.command_id)}
        if whole(form.get("seen", "")):
            question["seen"] = form["seen"]
        self.redirect(f"{self.link(*self.act.path(self.target))}?{urlencode(question)}", status=303)

    def _begun(self, *ids: str) -> Asked:
        """Return what is asked for, of whom may do it; raises PageDenied, and HTTPError 400 and 404."""
        *named, act = (*ids, self._given) if self._given else ids
        known = act if isinstance(act, Act) else SESSION_ACTS.get(str(act))
        if known is None:
            raise tornado.web.HTTPError(404, "There is no such thing to do.")
        self.act, self.target = known, known.target(tuple(map(str, named)))
        self.action = known.action
        if not self.viewer.may(self.action):
            raise PageDenied(_may_not(self.viewer, self.act), self.viewer, self.action, self.target.session_id)
        self.page = ActPage(self.act, self.target, self._asked_about(), self.viewer)
        return self._asked(str(self.target.session_id) if self.target.session_id else None)

    async def _audited(self, found: PageDenied, form: Form) -> None:
        """Have a denial written down; whatever becomes of that, it stays a denial."""
        site, target = self.site, "/".join(self.act.path(self.target))
        try:
            await IOLoop.current().run_in_executor(site.threads, lambda: audit(site.desk, found, form, target))
        except Exception:
            log.exception("denial_not_audited", actor=found.viewer.actor.name, action=found.action)

    def _asked_about(self) -> Deed | None:
        command = self.get_query_argument("command", "")
        try:
            return self._known(as_uuid(command, "command")) if command else None
        except InvalidArgument as error:
            raise tornado.web.HTTPError(400, str(error).replace("%", "%%")) from None

    def _known(self, command_id: UUID) -> Deed | None:
        """Return this login's command of that id; raises InvalidArgument where that is of something else."""
        found = self.site.acting.find(self.viewer, command_id)
        if found is not None and found.about != self.act.path(self.target):
            raise InvalidArgument("command", f"{command_id} is of something else that you sent", _FIX)
        return found

    def _rights(self, viewer: Viewer) -> tuple[Any, ...]:
        """Keep what one person was shown from all others: it is of their own command, and as old as that."""
        deed = self.page.deed
        told = (deed.asked_at, deed.under_way) if deed else None
        return self.act.name, self.target, told, viewer.actor.name, viewer.login, *super()._rights(viewer)

    def _deed(self, form: Form) -> Deed:
        """Send what the form says, or ask again; raises InvalidArgument naming what is wrong with it."""
        command_id = as_uuid(form.get("command_id", ""), "command_id")
        acting = self.site.acting
        if form.get("again"):
            found = acting.again(self.viewer, command_id) if self._known(command_id) else None
            if found is None:
                raise InvalidArgument("command_id", "is of a command that is not known here any more", _FIX)
            return found
        arguments = self.act.arguments(self.target, form)
        about, by = self.act.path(self.target), self.viewer.actor.name
        return acting.begin(
            self.viewer, Deed(command_id, self.act.task, arguments, of_desk=self.act.of_desk, about=about, by=by)
        )

    async def _view(self, asked: Asked) -> View:
        """Return what is shown; of a command that was sent, without Postgres, what this process knows of it."""
        try:
            return await super()._view(asked)
        except Retryable as error:
            if not asked.get("command"):
                raise
            return View(self.page.remembered(asked, Draw(self)), datetime.now(UTC), str(error))

    async def _shown(self, asked: Asked, *, fault: str | None = None, form: Form | None = None) -> None:
        try:
            view = await self._view(asked)
            fields = "" if asked.get("command") else await self._fields(asked, view, form or {})
        except (Rejected, Retryable) as error:
            self._nothing(asked, error, f"Nothing was sent. {fault}" if fault else "")
        else:
            self._page(asked, view, fields, fault, form or {})

    async def _fields(self, asked: Asked, view: View, form: Form) -> str:
        """Return the form's own fields, drawn; where a store is away, of what they were last."""
        site, act = self.site, self.act
        key = act.name, self.target, tuple(asked.arguments.items())
        look = partial(act.choices, site.desk, self.target, asked.arguments)
        choices = await site.views.last(key, look, away=view.problem is not None)
        return Draw(self)(act.fields_template, form=form, given=asked.arguments, **choices)

    def _page(self, asked: Asked, view: View, fields: str, fault: str | None, form: Form) -> None:
        parts = {name: part.html for name, part in view.parts.items()}
        self.show(
            "act_done.html" if asked.get("command") else "act.html", title=self.page.title(asked), tab=self.page.tab,
            asked=asked, parts=parts, problem=view.problem, at=view.at, live=True, act=self.act, target=self.target,
            address=self.link(*self.act.path(self.target)), fields=fields, fault=fault, form=form,
            command_id=asked.get("command") or uuid4(),
        )  # fmt: skip


def as_uuid(given: str, field: str) -> UUID:
    """Return an id that an address or a form holds; raises InvalidArgument."""
    try:
        return UUID(given)
    except ValueError:
        raise InvalidArgument(field, f"{given[:50]!r} is no id", _FIX) from None


def _faulty(error: InvalidArgument) -> str:
    field, problem, fix = error.args
    return f"The field '{field.replace('_', ' ')}' {problem}. {fix}"


def _may_not(viewer: Viewer, act: Act) -> str:
    if viewer.token is None:
        return "You only look: log in with a token of your own to act."
    return f"{viewer.actor.name} (roles {viewer.actor.role_list()}) may not do that: {act.label.lower()}."


ACTIONS = [
    url(rf"/sessions/{ID}/act/([a-z]+)", ActHandler, name="act"),
    url(rf"/sessions/{ID}/approvals/{ID}/approve", ActHandler, {"act": APPROVE}),
    url(rf"/sessions/{ID}/approvals/{ID}/reject", ActHandler, {"act": REJECT}),
    url(rf"/sessions/{ID}/events/{ID}/ack", ActHandler, {"act": ACKNOWLEDGE}),
    url(rf"/sessions/confirmations/{ID}/confirm", ActHandler, {"act": CONFIRM}),
    url(rf"/sessions/confirmations/{ID}/decline", ActHandler, {"act": DECLINE}),
    url(r"/sessions/halts/place", ActHandler, {"act": PLACE}),
    url(rf"/sessions/halts/{ID}/release", ActHandler, {"act": RELEASE}),
]
