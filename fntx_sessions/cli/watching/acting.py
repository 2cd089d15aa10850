"""The keys that act, on whichever screen shows a session: each opens its screen at once."""

from typing import Any, ClassVar
from uuid import UUID

from textual.binding import Binding, BindingType
from textual.widgets import Input

from fntx_sessions.cli.watching.act_screen import ActScreen
from fntx_sessions.cli.watching.acts import ACTS, BY_NAME
from fntx_sessions.cli.watching.keys import KeysScreen
from fntx_sessions.cli.watching.looking import LookingScreen

Row = dict[str, Any]
# All of them are keys; the line at the foot has room for those that are needed in a hurry.
_IN_A_HURRY = frozenset({"pause", "resume", "stop", "approve", "reject", "ack"})


def at_once(key: str, action: str, told: str, *, show: bool = True) -> Binding:
    """Return a key after which another screen or field takes what is typed: before the next key is looked at."""
    return Binding(key, action, told, show=show, priority=True)


class ActingScreen(LookingScreen):
    """A screen of a session that is meant, or of several of which one is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(at_once(act.key, f"act('{act.name}')", act.label, show=act.name in _IN_A_HURRY) for act in ACTS),
        at_once("question_mark", "keys", "Keys"),
    ]

    @property
    def row(self) -> Row | None:
        """What is shown of the session that is meant; None: there is none."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Tell whether a key acts: what is typed into a field is text, and a screen below another one is deaf."""
        if self.is_current and not isinstance(self.focused, Input):
            return super().check_action(action, parameters)
        return action not in {"act", "keys", "filter"}

    async def action_act(self, name: str) -> None:
        """Begin to act on the session that is meant; when this returns, its screen takes the keys."""
        if self.row is None:
            self.notify("there is no session to act on", severity="warning")
        else:
            act, session_id = BY_NAME[name], UUID(self.row["session_id"])
            await self.app.push_screen(ActScreen(self.desk, act, session_id), lambda _sent: self.look_soon())

    async def action_keys(self) -> None:
        """List the keys."""
        await self.app.push_screen(KeysScreen())
