"""Sessions driven through the machine itself, and what must hold of every one of them at any time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from owning import do
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import build_engine
from fntx_sessions.lifecycle import commands, creation, machine, templates, transitions
from fntx_sessions.lifecycle.arguments import CreateArguments
from fntx_sessions.lifecycle.change import Ask, Decision, Outcome, Row
from fntx_sessions.lifecycle.reads.history import get_outcome
from fntx_sessions.schemas import SessionStatus, SessionType, Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.chain_check import verify_chain
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.state.chain_key import ChainKeys

S, T = SessionStatus, Trigger
ANN = Actor("ann", frozenset({"operator", "risk_manager"}))
BOB = Actor("bob", frozenset({"operator"}))
UNCHANGED = ("refused", "denied")
# How a fresh session gets there.
ROUTES: dict[S, tuple[T, ...]] = {
    S.INITIALIZING: (),
    S.ACTIVE: (T.START,),
    S.PAUSED: (T.START, T.PAUSE),
    S.SUSPENDED: (T.START, T.SUSPEND),
    S.CLOSING: (T.START, T.STOP),
    S.CLOSED: (T.START, T.STOP, T.FINALIZE),
    S.ERROR: (T.START, T.FAIL),
}


def plan_of(engine: Engine, *, hosted: bool = True, **asked: Any) -> creation.Plan:
    """Return a plan for a session of a type's own template; hosted False: its agents are remote and not ready."""
    arguments = CreateArguments.model_validate({"session_type": SessionType.PAPER_TRADING} | asked)
    with engine.connect() as connection:
        template = templates.load(connection, templates.BY_TYPE[arguments.session_type])
    return creation.plan(template, arguments, frozenset(template.required_agents if hosted else ()), named=False)


@dataclass(frozen=True)
class World:
    """One database and the machine over it."""

    engine: Engine
    settings: Settings

    @classmethod
    def over(cls, url: str, **changed: Any) -> "World":
        settings = Settings(home=Path("/nonexistent"), database_url=url, auth_mode="open", **changed)
        return cls(build_engine(url, settings), settings)

    def close(self) -> None:
        self.engine.dispose()

    def create(self, *, command_id: UUID | None = None, session_id: UUID | None = None, **asked: Any) -> UUID:
        """Create a session and return its id."""
        outcome = self.create_outcome(session_id or uuid4(), command_id or uuid4(), **asked)
        assert outcome.state == "done", outcome
        return outcome.session_id

    def create_outcome(self, session_id: UUID, command_id: UUID, **asked: Any) -> Outcome:
        planned = plan_of(self.engine, **asked)
        own = {key: str(value) for key, value in asked.items()}
        ask = Ask(T.CREATE, session_id, ANN, "made for a test", command_id, own)
        return creation.create(self.engine, self.settings, ask, planned)

    def in_status(self, status: SessionStatus, **asked: Any) -> UUID:
        """Create a session and take it to `status`."""
        session_id = self.create(**asked)
        for trigger in ROUTES[status]:
            assert self.do(trigger, session_id, reason=f"on the way to {status}").state == "done"
        return session_id

    def do(self, trigger: Trigger, session_id: UUID, **more: Any) -> Outcome:
        """Do one command in one call; see `ask` for what may be given."""
        return self.run(ask(trigger, session_id, **more))

    def run(self, asked: Ask) -> Outcome:
        """Run a command; a recovery runs to its end, restoring nothing."""
        if asked.trigger is not T.RECOVER:
            return machine.run(self.engine, asked, decision(asked.trigger))
        begun = machine.run(self.engine, asked, commands.begin_recovery)
        if begun.state != "pending" or begun.repeated:
            return begun
        return machine.run(self.engine, asked, commands.finish_recovery({"epoch": begun.epoch}), finishing=True)

    def row(self, session_id: UUID) -> Row:
        """Return the session's row."""
        return self.rows("SELECT * FROM sessions WHERE session_id = :id", id=session_id)[0]

    def rows(self, sql: str, **bound: Any) -> list[Row]:
        """Return the rows of a query."""
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(sql), bound).mappings()]

    def execute(self, sql: str, **bound: Any) -> None:
        """Run a statement and commit."""
        do(self.engine, sql, bound)

    def transitions(self, session_id: UUID) -> list[Row]:
        return self.rows("SELECT * FROM transitions WHERE session_id = :id ORDER BY version", id=session_id)

    def audit(self, session_id: UUID) -> list[Row]:
        return self.rows("SELECT * FROM audit WHERE session_id = :id ORDER BY seq", id=session_id)


def decision(trigger: Trigger) -> Decision:
    """Return the decision of a trigger; a recovery's first."""
    return commands.begin_recovery if trigger is T.RECOVER else commands.DECISIONS[trigger]


def ask(trigger: Trigger, session_id: UUID, **more: Any) -> Ask:
    """Return a command: actor, reason, command_id and expected_version by name, all else are its arguments."""
    fixed = {"actor": ANN, "reason": "", "command_id": uuid4(), "expected_version": None}
    fixed |= {key: more.pop(key) for key in list(more) if key in fixed}
    if trigger is T.UPDATE and not more:
        more = {"config": {"tags": [uuid4().hex]}}
    if trigger is T.RECOVER and not more:
        more = {"checkpoint_id": str(uuid4())}
    return Ask(trigger, session_id, arguments=more, **fixed)


def check_session(world: World, session_id: UUID) -> None:
    """Check what must hold of a session at any time, from what is stored alone."""
    row = world.row(session_id)
    audit = world.audit(session_id)
    assert verify_chain(audit, ChainKeys(world.engine, get_settings()).rows, head=row["audit_head"]) == []
    assert row["audit_seq"] == len(audit)
    _check_path(world.transitions(session_id), row)
    _check_commands(world, session_id, audit)
    work = world.rows("SELECT status, epoch FROM session_work WHERE session_id = :id", id=session_id)[0]
    assert (work["status"], work["epoch"]) == (row["status"], row["epoch"])
    assert not row["holds"] or row["status"] not in (S.ACTIVE, S.INITIALIZING)
    assert (row["status"] == S.CLOSED) == (row["ended_at"] is not None)


def _check_path(path: list[Row], row: Row) -> None:
    """Each step begins where the one before it ended, and the table allows it."""
    status, version, epoch = None, 0, 0
    for step in path:
        assert step["from_status"] == status
        assert transitions.target(T(step["trigger"]), status and S(status)) == step["to_status"]
        assert step["version"] > version
        assert step["epoch"] >= epoch
        status, version, epoch = step["to_status"], step["version"], step["epoch"]
    assert status == row["status"]
    assert row["version"] >= version
    assert row["epoch"] >= epoch


def _check_commands(world: World, session_id: UUID, audit: list[Row]) -> None:
    """Every command is audited; every version was made by exactly one; a refusal moved nothing."""
    made = [entry["version_after"] for entry in audit if entry["outcome"] not in UNCHANGED]
    assert made == list(range(1, len(made) + 1))
    assert made[-1] == world.row(session_id)["version"]
    assert all(entry["version_before"] == entry["version_after"] for entry in audit if entry["outcome"] in UNCHANGED)
    stored = world.rows("SELECT command_id, state FROM commands WHERE session_id = :id", id=session_id)
    last = {entry["command_id"]: entry for entry in audit}
    asked = {command["command_id"] for command in stored}
    assert asked <= last.keys()
    assert {entry["outcome"] for command_id, entry in last.items() if command_id not in asked} <= {"denied"}
    for command in stored:
        outcome = get_outcome(world.engine, command["command_id"])
        written = last[command["command_id"]]["outcome"]
        assert command["state"] == outcome.state == {"denied": "refused"}.get(written, written)
        if command["state"] == "done":
            assert outcome.version == last[command["command_id"]]["version_after"]
