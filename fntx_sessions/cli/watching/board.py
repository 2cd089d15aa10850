"""The live board: a row a session, those that need somebody first; filter, order, pages, and keys that act on a row."""

from dataclasses import replace
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.widgets import DataTable, Footer, Input, Static

from fntx_sessions.cli.output import age, plain
from fntx_sessions.cli.watching.acting import ActingScreen, at_once
from fntx_sessions.cli.watching.asked import HINT, Asked
from fntx_sessions.cli.watching.columns import Draw, cell, fitting, to_do
from fntx_sessions.cli.watching.desk import Desk
from fntx_sessions.cli.watching.names import Names
from fntx_sessions.cli.watching.plain import WANTED_IN_EVERY_STATUS, told
from fntx_sessions.cli.watching.session import SessionScreen

Row = dict[str, Any]
PAGE = 100
# Between two cells of a row, and beside the scroll bar.
_PADDING, _EDGE = 1, 3


class Board(ActingScreen):
    """The board."""

    BINDINGS: ClassVar[list[BindingType]] = [
        at_once("slash", "filter", "Filter"),
        Binding("o", "sort", "Sort", show=False),
        Binding("O", "reverse", "Sort the other way", show=False),
        Binding("n", "page(1)", "Next page", show=False),
        Binding("b", "page(-1)", "Page back", show=False),
        Binding("escape", "clear", "Show all", show=False),
    ]

    def __init__(self, desk: Desk, names: Names, every_s: float) -> None:
        super().__init__(desk, names, every_s)
        self.asked = Asked()
        self.page: Row | None = None
        self._columns: dict[str, Draw] = {}

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield DataTable(cursor_type="row", cell_padding=_PADDING)
        yield Static(id="about")
        field = Input(id="filter", placeholder=HINT)
        field.display = False
        yield field
        yield Static("looking...", id="state")
        yield Footer(show_command_palette=False)

    async def look(self) -> Row:
        """Ask for the page that is shown."""
        ids = [str(one) for one in await self.names.ids(self.desk.query)]
        wanted = {"session_ids": ids, **WANTED_IN_EVERY_STATUS} if ids else {}
        found: Row = await self.desk.query("sessions.board", wanted | self.asked.arguments() | {"limit": PAGE})
        return found

    def draw(self, found: Row) -> None:
        """Show a page, the cursor on the session it was on."""
        self.page = found
        grid, rows = self.grid, found["rows"]
        columns = fitting(rows, self.app.size.width - _EDGE)
        if [*columns] != [*self._columns] or [row["session_id"] for row in rows] != [one.value for one in grid.rows]:
            self._laid_out(rows, columns)
        else:
            self._renewed(rows, columns)
        self._about()

    @property
    def grid(self) -> DataTable[Text]:
        """The table."""
        found: DataTable[Text] = self.query_one(DataTable)
        return found

    @property
    def row(self) -> Row | None:
        """The row under the cursor; None where there is none."""
        rows = self.page["rows"] if self.page else []
        return rows[self.grid.cursor_row] if self.grid.cursor_row < len(rows) else None

    def told(self) -> str:
        """Say how many there are, how they are sorted, and what stands over them."""
        assert self.page is not None  # noqa: S101 -- it was seen
        pages = f"; page {self.page['page']} of {self.page['pages']}" if self.page["pages"] > 1 else ""
        halts = f"; HALTED: {len(self.page['halts'])}" if self.page["halts"] else ""
        return f"{told(self.page)}{pages}; {self.asked}{halts}"

    def on_resize(self, _event: Resize) -> None:
        """Take the columns there is room for now."""
        if self.page is not None:
            self.draw(self.page)

    def on_data_table_row_highlighted(self, _event: DataTable.RowHighlighted) -> None:
        """Say more about the row under the cursor."""
        self._about()

    def on_data_table_row_selected(self, _event: DataTable.RowSelected) -> None:
        """Open its session."""
        if self.row is not None and self.is_current:
            named = Names([self.row["session_id"]])
            self.app.push_screen(SessionScreen(self.desk, named, self.every_s, opened=True))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Filter by what was typed."""
        self._ask(Asked(event.value.strip(), self.asked.sort, self.asked.reverse))
        event.input.display = False
        self.set_focus(self.grid)

    def action_filter(self) -> None:
        """Let a filter be typed."""
        field = self.query_one("#filter", Input)
        field.display = True
        self.set_focus(field)

    def action_clear(self) -> None:
        """Show all again."""
        field = self.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self.set_focus(self.grid)
        self._ask(replace(self.asked, filter="", page=1))

    def action_sort(self) -> None:
        """Sort by the next."""
        self._ask(self.asked.sorted_next())

    def action_reverse(self) -> None:
        """Sort the other way round."""
        self._ask(self.asked.reversed())

    def action_page(self, step: int) -> None:
        """Show another page."""
        last = self.page["pages"] if self.page else 1
        self._ask(replace(self.asked, page=min(max(1, self.asked.page + step), last)))

    def _ask(self, asked: Asked) -> None:
        self.asked = asked
        self.look_soon()

    def _laid_out(self, rows: list[Row], columns: dict[str, Draw]) -> None:
        grid, before = self.grid, self._under_cursor()
        grid.clear(columns=True)
        self._columns = columns
        for name in columns:
            grid.add_column(name, key=name)
        for row in rows:
            grid.add_row(*(cell(draw(row)) for draw in columns.values()), key=row["session_id"])
        if before in grid.rows:
            grid.move_cursor(row=grid.get_row_index(before))

    def _renewed(self, rows: list[Row], columns: dict[str, Draw]) -> None:
        grid = self.grid
        for row in rows:
            for name, draw in columns.items():
                text = cell(draw(row))
                if grid.get_cell(row["session_id"], name) != text:
                    grid.update_cell(row["session_id"], name, text, update_width=True)

    def _under_cursor(self) -> Any:
        grid = self.grid
        return [*grid.rows][grid.cursor_row] if grid.cursor_row < grid.row_count else None

    def _about(self) -> None:
        row = self.row
        self.query_one("#about", Static).update(Text.from_markup(_about(row) if row else _NOBODY))


def _about(row: Row) -> str:
    who = f"by {plain(row['status_actor'])}: {plain(row['status_reason'])}"
    own = row["account_id"] == f"paper:{row['session_id']}"
    whose = f"{plain(row['template_name'])}, {'an account of its own' if own else plain(row['account_id'])}"
    needs = f"[bold red]{plain(row['requires_action'])}[/bold red]" if row["requires_action"] else _next(row)
    return f"{row['session_id']}  {whose}\n{row['status']} {who}\n{'; '.join(filter(None, (to_do(row), needs)))}"


def _next(row: Row) -> str:
    waits = row["agents_not_ready"]
    agents = f"; not ready: {plain(', '.join(waits))}" if waits and row["status"] != "closed" else ""
    return f"next: {plain(row['next_rule']['what'])}; saved {age(row['last_saved_at'])} ago{agents}"


_NOBODY = "[dim]no session passes: `fntx create paper_trading` makes one, Escape shows all[/dim]"
