"""The keys that act, on whichever screen shows a session: choose what is meant, then show what would happen."""

from typing import Any
from uuid import UUID

from textual.binding import Binding, BindingType

from fntx_sessions.cli.exits import sentence
from fntx_sessions.cli.watching.act_screen import ActScreen
from fntx_sessions.cli.watching.acts import ACTS, BY_NAME, Act
from fntx_sessions.cli.watching.choosing import ChoiceScreen
from fntx_sessions.cli.watching.looking import LookingScreen
from fntx_sessions.exceptions import FntxError

Row = dict[str, Any]
# All of them are keys; the line at the foot has room for those that are needed in a hurry.
_IN_A_HURRY = frozenset({"pause", "resume", "stop", "approve", "reject", "ack"})
ACT_BINDINGS: list[BindingType] = [
    Binding(act.key, f"act('{act.name}')", act.label, show=act.name in _IN_A_HURRY) for act in ACTS
]


class ActingScreen(LookingScreen):
    """A screen of a session that is meant, or of several of which one is."""

    @property
    def row(self) -> Row | None:
        """What is shown of the session that is meant; None: there is none."""
        raise NotImplementedError

    def action_act(self, name: str) -> None:
        """Begin to act on the session that is meant."""
        if self.row is None:
            self.notify("there is no session to act on", severity="warning")
        else:
            self.run_worker(self._act(BY_NAME[name], UUID(self.row["session_id"])), exit_on_error=True)

    async def _act(self, act: Act, session_id: UUID) -> None:
        """Do it, asked again and shown first; the screen that is left is as it was."""
        try:
            subject = await self._subject(act, session_id)
        except FntxError as error:
            self.notify(sentence(error), severity="error", markup=False)
            return
        if act.of is None or subject is not None:
            await self.app.push_screen_wait(ActScreen(self.desk, act, session_id, subject))
            self.look_soon()

    async def _subject(self, act: Act, session_id: UUID) -> Row | None:
        """Return the approval or event that is meant: the only one, or the one somebody chooses; None: none."""
        if act.of is None:
            return None
        found = await self.desk.query(act.of.task, act.of.arguments | {"session_id": str(session_id)})
        rows = act.of.rows(found)
        if not rows:
            self.notify(f"no {act.of.kind} of this session waits for anybody")
        if len(rows) < 2:
            return rows[0] if rows else None
        return await self.app.push_screen_wait(ChoiceScreen(f"{act.label}: which {act.of.kind}?", rows, act.of.told))
