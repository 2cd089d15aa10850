"""The screen of one act: what would happen, why it is done, and what came of it."""

import time
from typing import Any, ClassVar
from uuid import UUID, uuid4

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, RadioButton, RadioSet, Static

from fntx_sessions.cli.exits import sentence
from fntx_sessions.cli.output import SHORT_ID
from fntx_sessions.cli.watching.acts import Act
from fntx_sessions.cli.watching.came_of_it import came_of_it, not_done
from fntx_sessions.cli.watching.desk import Desk
from fntx_sessions.exceptions import FntxError, InvalidArgument, OutcomeUnknown, Retryable
from fntx_sessions.printable import printable

Row = dict[str, Any]
_POLICIES = ("as the session's own policy says", "close the positions", "leave them to whom the last field names")
# A plan reads what it would restore from.
_PLAN_S = 30.0


def _choice(number: int, chosen: int) -> Text:
    return Text(f"[{'x' if number == chosen else ' '}] {_POLICIES[number]}")


class ActScreen(ModalScreen[bool]):
    """Returns whether something was sent. Its command has one id, so that asking again acts once."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "leave", "Leave")]

    def __init__(self, desk: Desk, act: Act, session_id: UUID, subject: Row | None) -> None:
        super().__init__()
        self.act, self.command_id = act, uuid4()
        self._desk, self._session_id, self._subject = desk, session_id, subject
        self._foreseen: Row | None = None
        self._began: float | None = None
        self._sent = self._ended = False

    def compose(self) -> ComposeResult:
        """Lay it out."""
        with Vertical(classes="box"):
            yield Static(Text(f"{self.act.label} {self._named()}", style="bold"))
            with VerticalScroll(can_focus=False):
                yield Static("looking what it would do...", id="happens")
            if self.act.name == "stop":
                yield RadioSet(*(RadioButton(_choice(number, 0), value=not number) for number in range(len(_POLICIES))))
            yield Input(id="why", placeholder="why? kept with it, and with your name", max_length=2000, compact=True)
            if self.act.name == "stop":
                yield Input(
                    id="heir", placeholder="who looks after positions that are left", max_length=200, compact=True
                )
            yield Static("Enter does it, Escape leaves it.", id="came")

    def on_mount(self) -> None:
        """Look what would happen, and let the reason be typed."""
        self.query_one("#why", Input).focus()
        self.run_worker(self._foresee(), exit_on_error=True)
        self.set_interval(1.0, self._tick)

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        """Do it; once it is done, leave."""
        if self._ended:
            self.dismiss(self._sent)
        elif self._began is None:
            self._begin()

    def on_radio_set_changed(self, event: RadioSet.Changed) -> None:
        """Mark what is chosen by more than a colour."""
        for number, button in enumerate(event.radio_set.query(RadioButton)):
            button.label = _choice(number, event.index)

    def action_leave(self) -> None:
        """Leave; what was sent goes on by itself."""
        self.dismiss(self._sent)

    def _named(self) -> str:
        if self._subject is None or self.act.of is None:
            return f"session {str(self._session_id)[:SHORT_ID]}"
        told = Text.from_markup(self.act.of.told(self._subject)).plain
        return f"{self.act.of.kind} {told}"

    async def _foresee(self) -> None:
        asked: Row = {"session_id": str(self._session_id), "action": self.act.name}
        asked |= {"subject": self._about()} if self._subject else {}
        try:
            self._foreseen = await self._desk.query("sessions.foresee", asked)
            told = [Text(f"{printable(one)}\n") for one in self._foreseen["happens"]]
            if self._foreseen["refused"]:
                told = [Text(f"It would be refused now: {printable(self._foreseen['refused'])}\n", style="bold yellow")]
            told += await self._plan() if self.act.name == "recover" and not self._foreseen["refused"] else []
        except FntxError as error:
            told = [Text(f"What it would do is not known: {sentence(error)}", style="yellow")]
        self.query_one("#happens", Static).update(Text().join(told))

    async def _plan(self) -> list[Text]:
        """Return what a recovery would restore from."""
        found = await self._desk.query("sessions.plan", {"session_id": str(self._session_id)}, _PLAN_S)
        first = found["candidates"][0] if found["candidates"] else None
        best = f"{first['name']} of {first['tier']}" if first else "nothing: agents would begin anew"
        why = "; ".join(found["confidence_reasons"])
        return [
            Text(f"It would restore from {printable(best)}; loses: {printable(found['data_loss_risk'])}.\n"),
            Text(f"Confidence {found['recovery_confidence']}: {printable(why)}. `fntx plan` shows all.\n"),
        ]

    def _begin(self) -> None:
        try:
            arguments = self._arguments()
        except InvalidArgument as error:
            self._tell(Text(sentence(error), style="yellow"))
            return
        self._began, self._sent = time.monotonic(), True
        self._tick()
        self.run_worker(self._do(arguments), exit_on_error=True)

    def _arguments(self) -> Row:
        why = self.query_one("#why", Input).value.strip()
        if not any(map(str.isalnum, why)):
            raise InvalidArgument("why", "says nothing", "Say why: others read it.")
        given: Row = {"session_id": str(self._session_id), self.act.why: why}
        given |= {self.act.of.id_name: self._about()} if self.act.of else {}
        version = (self._foreseen or {}).get("expected_version")
        return given | self._policy() | ({} if version is None else {"expected_version": version})

    def _about(self) -> str:
        assert self.act.of is not None and self._subject is not None  # noqa: PT018, S101 -- whoever asks has both
        return str(self._subject[self.act.of.id_name])

    def _policy(self) -> Row:
        chosen = self.query_one(RadioSet).pressed_index if self.act.name == "stop" else 0
        if chosen <= 0:
            return {}
        if chosen == 1:
            return {"close_positions": True}
        heir = self.query_one("#heir", Input).value.strip()
        if not heir:
            raise InvalidArgument("the last field", "names nobody", "Say who looks after the positions.")
        return {"close_positions": False, "leave_positions_with": heir}

    async def _do(self, arguments: Row) -> None:
        try:
            outcome = await self._desk.command(self.act.task, arguments, self.command_id)
        except (OutcomeUnknown, Retryable) as error:
            self._came(not_done(self.act, self._session_id, error))
        except FntxError as error:
            self.command_id = uuid4()  # that one was answered: what is asked next is another command
            self._came(Text(f"Refused: {printable(sentence(error))}\nEscape leaves.", style="bold red"))
            await self._foresee()
        else:
            self._ended = True
            self._came(came_of_it(outcome))

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
