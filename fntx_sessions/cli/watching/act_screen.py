"""The screen of one act: what would happen, why it is done, and what came of it."""

import time
from typing import Any, ClassVar
from uuid import UUID, uuid4

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Input, OptionList, Static

from fntx_sessions.cli.exits import sentence
from fntx_sessions.cli.watching.act_shown import LEAVE, OWN, ShownFirst, policies
from fntx_sessions.cli.watching.acts import Act
from fntx_sessions.cli.watching.came_of_it import came_of_it, not_done
from fntx_sessions.cli.watching.desk import Desk
from fntx_sessions.exceptions import FntxError, OutcomeUnknown, Retryable
from fntx_sessions.printable import printable

Row = dict[str, Any]
_LOOKING = "Still looking what it would do: Enter once that is shown."
_UNSEEN = "What it would do is not known: Enter once more does it all the same, whatever others did meanwhile."


class ActScreen(ShownFirst):
    """Returns whether something was sent. It is there at the key, and takes what is typed from then on.

    What was sent has one id, and stays as it was sent until somebody answers, so that asking again acts once.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "leave", "Leave"),
        Binding("enter", "send", "Do it", show=False),  # where no field has the focus
    ]

    def __init__(self, desk: Desk, act: Act, session_id: UUID) -> None:
        super().__init__(desk, act, session_id)
        self.command_id = uuid4()
        self._unanswered: Row | None = None
        self._began: float | None = None
        self._sent = self._ended = self._warned = False

    def compose(self) -> ComposeResult:
        """Lay it out."""
        with Vertical(classes="box"):
            yield Static(self.title_told(), id="title")
            with VerticalScroll(can_focus=False):
                yield Static("looking what it would do...", id="happens")
            if self.act.of is not None:
                which = OptionList(id="which")
                which.display = False
                yield which
            if self.act.name == "stop":
                yield OptionList(*policies(OWN), id="policy")
            yield Input(id="why", placeholder="why? kept with it, and with your name", max_length=2000, compact=True)
            if self.act.name == "stop":
                yield Input(
                    id="heir", placeholder="who looks after positions that are left", max_length=200, compact=True
                )
            yield Static("Enter does it, Escape leaves it.", id="came")

    def on_mount(self) -> None:
        """Let the reason be typed at once, and look what would happen."""
        self.set_focus(self.query_one("#why"))  # now: the next key may wait already
        self.look()
        self.set_interval(1.0, self._tick)

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        """Do it; once it is done, leave."""
        self.action_send()

    def action_send(self) -> None:
        """Do it, or ask again where nobody answered; once it is done, leave."""
        if self._ended:
            self.action_leave()
        elif self._began is None:
            missing = "" if self._unanswered else self._missing()
            if missing:
                self._tell(Text(missing, style="yellow"))
            else:
                self._send(self._unanswered or self._arguments())

    def action_leave(self) -> None:
        """Leave; what was sent goes on by itself."""
        if self.is_current:  # a key may have come twice
            self.dismiss(self._sent)

    def look(self) -> None:
        """Begin to look what would happen."""
        self._warned = False
        super().look()

    def nothing(self) -> None:
        """Leave at the next Enter."""
        self._ended = True
        self._tell(Text("Enter or Escape leaves."))

    def _missing(self) -> str:
        """Return what has to come before it is sent."""
        if not any(map(str.isalnum, self._why())):
            return "The reason says nothing. Say why: others read it."
        if self.policy == LEAVE and not self.heir():
            return "The last field names nobody. Say who looks after the positions."
        if self.act.of is not None and self.subject is None:
            return f"It is not known yet which {self.act.of.kind} is meant."
        return self._unseen()

    def _unseen(self) -> str:
        """Return what is to be read first; what ends risk means the same whatever came between, and does not wait."""
        if self.act.ends_risk or self.foreseen is not None:
            return ""
        if self.looking:
            return _LOOKING
        warned, self._warned = self._warned, True
        return "" if warned else _UNSEEN

    def _arguments(self) -> Row:
        given: Row = {"session_id": str(self.session_id), self.act.why: self._why()}
        given |= {self.act.of.id_name: self.about()} if self.act.of else {}
        version = (self.foreseen or {}).get("expected_version")
        return given | self.chosen() | ({} if version is None else {"expected_version": version})

    def _why(self) -> str:
        return self.query_one("#why", Input).value.strip()

    def _send(self, arguments: Row) -> None:
        self._unanswered, self._sent, self._began = arguments, True, time.monotonic()
        self._freeze(sent=True)
        self._tick()
        self.run_worker(self._do(arguments), exit_on_error=True)

    async def _do(self, arguments: Row) -> None:
        try:
            outcome = await self.desk.command(self.act.task, arguments, self.command_id)
        except (OutcomeUnknown, Retryable) as error:
            self._came(not_done(self.act, self.session_id, error))
        except FntxError as error:
            # That one was answered: what is asked next is another command.
            self.command_id, self._unanswered = uuid4(), None
            self._came(Text(f"Refused: {printable(sentence(error))}\nEscape leaves.", style="bold red"))
            self._freeze(sent=False)
            self.look()
        else:
            self._ended = True
            self._came(came_of_it(outcome))

    def _freeze(self, *, sent: bool) -> None:
        """Let nothing be edited of what was sent, as long as nobody answered."""
        for field in self.query("Input, OptionList"):
            field.disabled = sent
        self.set_focus(None if sent else self.query_one("#why"))

    def _came(self, told: Text) -> None:
        self._began = None
        self._tell(told)

    def _tick(self) -> None:
        if self._began is not None:
            waited = time.monotonic() - self._began
            self._tell(
                Text(f"asked as {self.command_id}; no answer for {waited:.0f} s. Escape leaves; what was sent goes on.")
            )

    def _tell(self, told: Text) -> None:
        self.query_one("#came", Static).update(told)
