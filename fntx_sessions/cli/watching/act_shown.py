"""What the screen of an act shows before anything is sent: which of several is meant, and what would happen."""

import asyncio
from typing import Any
from uuid import UUID

from rich.text import Text
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

from fntx_sessions.cli.exits import sentence
from fntx_sessions.cli.output import SHORT_ID
from fntx_sessions.cli.watching.acts import Act, Of
from fntx_sessions.cli.watching.desk import Desk
from fntx_sessions.cli.watching.foreseeing import foresee
from fntx_sessions.exceptions import FntxError, Retryable

Row = dict[str, Any]
OWN, CLOSE, LEAVE = range(3)
_POLICIES = ("as the session's own policy says", "close the positions", "leave them to whom the last field names")
# Between two looks at a desk that is away.
_AGAIN_S = 2.0


def policies(chosen: int) -> list[Text]:
    """Return the policies of a stop, the chosen one marked by more than a colour."""
    return [Text(f"[{'x' if number == chosen else ' '}] {told}") for number, told in enumerate(_POLICIES)]


class ShownFirst(ModalScreen[bool]):
    """Looks what an act would do, of the subject and the policy that are chosen; of several looks the last counts.

    foreseen: what the desk answered, None where it has not; looking: an answer may be under way.
    """

    def __init__(self, desk: Desk, act: Act, session_id: UUID) -> None:
        super().__init__()
        self.act, self.desk, self.session_id = act, desk, session_id
        self.subject: Row | None = None
        self.policy = OWN
        self.foreseen: Row | None = None
        self.looking = True
        self._subjects: list[Row] = []

    def nothing(self) -> None:
        """Take it that there is nothing to act on."""
        raise NotImplementedError

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Take one of several, or another policy, and look what that would do."""
        if event.option_list.id == "which":
            self._take(self._subjects[event.option_index])
        else:
            self.policy = event.option_index
            for number, told in enumerate(policies(self.policy)):
                event.option_list.replace_option_prompt_at_index(number, told)
        self.look()

    def on_input_blurred(self, event: Input.Blurred) -> None:
        """Look again once it is said who takes positions over."""
        if event.input.id == "heir" and self.policy == LEAVE and not event.input.disabled:
            self.look()

    def title_told(self) -> Text:
        """Return what is done to what."""
        named = f"session {str(self.session_id)[:SHORT_ID]}"
        if self.act.of is not None and self.subject is not None:
            named = f"{self.act.of.kind} {Text.from_markup(self.act.of.told(self.subject)).plain}"
        return Text(f"{self.act.label} {named}", style="bold")

    def chosen(self) -> Row:
        """Return the policy of a stop as arguments; nothing where the session's own stands."""
        if self.policy == LEAVE:
            heir = self.heir()
            return {"close_positions": False} | ({"leave_positions_with": heir} if heir else {})
        return {"close_positions": True} if self.policy == CLOSE else {}

    def heir(self) -> str:
        """Return who is named to look after positions."""
        return self.query_one("#heir", Input).value.strip()

    def about(self) -> str:
        """Return the id of what the act is about."""
        assert self.act.of is not None and self.subject is not None  # noqa: PT018, S101 -- whoever asks has both
        return str(self.subject[self.act.of.id_name])

    def look(self) -> None:
        """Begin to look what would happen."""
        self.foreseen, self.looking = None, True
        self.run_worker(self._until_seen(), group="look", exclusive=True, exit_on_error=True)

    async def _until_seen(self) -> None:
        """Look; a desk that is away may come back."""
        while True:
            try:
                await self._once()
            except Retryable as error:
                self._show(Text(f"What it would do is not known: {sentence(error)} (still trying)", style="yellow"))
            except FntxError as error:
                self._show(Text(f"What it would do is not known: {sentence(error)}", style="yellow"))
                return
            else:
                return
            await asyncio.sleep(_AGAIN_S)

    async def _once(self) -> None:
        if self.act.of is not None and self.subject is None and not await self._found(self.act.of):
            return
        about = {"subject": self.about()} if self.subject is not None else {}
        found, told = await foresee(self.desk, self.act, self.session_id, about | self.chosen())
        self._show(told)
        self.foreseen = found

    async def _found(self, of: Of) -> bool:
        """Find what the act is about: the only one there is, or one that somebody has to choose."""
        found = await self.desk.query(of.task, of.arguments | {"session_id": str(self.session_id)})
        self._subjects = of.rows(found)
        if len(self._subjects) == 1:
            self._take(self._subjects[0])
        elif self._subjects:
            self._ask_which(of)
        else:
            self._show(Text(f"No {of.kind} of this session waits for anybody."))
            self.nothing()
        return self.subject is not None

    def _ask_which(self, of: Of) -> None:
        which = self.query_one("#which", OptionList)
        which.clear_options()
        which.add_options([Text.from_markup(of.told(row)) for row in self._subjects])
        which.display, which.highlighted = True, 0
        self._show(Text(f"{self.act.label}: which {of.kind}? Enter takes it."))
        if not self.query_one("#why", Input).value:  # whoever types goes on typing
            self.set_focus(which)

    def _take(self, subject: Row) -> None:
        self.subject = subject
        self.set_focus(self.query_one("#why"))
        self.query_one("#which").display = False
        self.query_one("#title", Static).update(self.title_told())

    def _show(self, told: Text) -> None:
        self.looking = False
        self.query_one("#happens", Static).update(told)
