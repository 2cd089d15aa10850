"""A session against a model of it: whatever is asked in whatever order, the two agree."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from lifecycle_harness import ANN, BOB, S, T, World, ask, check_session

from fntx_sessions.exceptions import CommandConflict, FntxError, InvalidArgument
from fntx_sessions.lifecycle.change import Ask, Outcome
from fntx_sessions.lifecycle.transitions import TABLE, target

HOLDS = ("person", "rule", "halt", "recovery")
MOVES = [trigger for trigger in TABLE if trigger is not T.CREATE]


@dataclass
class Model:
    """All a session is to its callers."""

    status: S = S.INITIALIZING
    version: int = 1
    epoch: int = 0
    started: bool = False
    holds: set[str] = field(default_factory=set)
    blocked: bool = False

    def refuses(self, asked: Ask) -> str | None:
        """Return the name of the error a fresh command is refused with, None when it is done."""
        if asked.expected_version not in (None, self.version):
            return "VersionConflict"
        if asked.trigger is T.UPDATE:
            return "IllegalTransition" if self.status in (S.CLOSING, S.CLOSED) else None
        if asked.trigger is T.RECOVER and self.status is S.ERROR and not self.started:
            return "PreconditionFailed"
        # Nobody hosts this session, so no host of it can be lost: an ACTIVE one has nothing to be recovered from.
        if target(asked.trigger, self.status) is None:
            return "IllegalTransition"
        if asked.trigger is T.RESUME and (self._left(asked) or self.blocked):
            return "PreconditionFailed"
        return None

    def _left(self, asked: Ask) -> set[str]:
        own = asked.arguments.get("hold", "person")
        return self.holds - ({"person", "rule", "recovery"} if own == "person" else {own})

    def apply(self, asked: Ask) -> None:
        """Become what a command that is done leaves behind."""
        self.version += 2 if asked.trigger is T.RECOVER else 1
        if asked.trigger is T.UPDATE:
            return
        self.epoch += asked.trigger in (T.START, T.RECOVER)
        self.started |= asked.trigger is T.START
        self.status = target(asked.trigger, self.status)
        if asked.trigger is T.PAUSE:
            self.holds.add(asked.arguments.get("hold", "person"))
        if asked.trigger is T.RECOVER:
            self.holds.add("recovery")
        if asked.trigger in (T.START, T.RESUME):
            self.holds.clear()
        if asked.trigger in (T.FAIL, T.RECOVER, T.FINALIZE):
            self.blocked = asked.trigger is T.FAIL


class Sessions(RuleBasedStateMachine):
    """One session, its model, and every command that was ever asked of it with its answer."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.answered: list[tuple[Ask, Outcome]] = []

    @initialize()
    def create(self):
        self.session_id = self.world.create()
        self.model = Model()

    @rule(trigger=st.sampled_from(MOVES), actor=st.sampled_from([ANN, BOB]), reason=st.sampled_from(["", "so"]))
    def move(self, trigger, actor, reason):
        """A command without arguments."""
        self._fresh(ask(trigger, self.session_id, actor=ANN if trigger is T.RECOVER else actor, reason=reason))

    @rule(trigger=st.sampled_from([T.PAUSE, T.RESUME]), hold=st.sampled_from(HOLDS))
    def hold(self, trigger, hold):
        """A pause or resume by somebody in particular."""
        self._fresh(ask(trigger, self.session_id, hold=hold))

    @rule(trigger=st.sampled_from([*MOVES, T.UPDATE]), off=st.sampled_from([-1, 0, 0, 1]))
    def conditional(self, trigger, off):
        """A command that holds only at one version."""
        self._fresh(ask(trigger, self.session_id, expected_version=self.model.version + off))

    @rule(limit=st.integers(1, 3))
    def update(self, limit):
        """New limits: refused when nothing differs, as stored, not as asked."""
        asked = ask(T.UPDATE, self.session_id, risk_parameters={"position_limit": limit})
        same = self.world.row(self.session_id)["risk_parameters"]["position_limit"] == limit
        if same and self.model.refuses(asked) is None:
            outcome = self.world.run(asked)
            assert isinstance(FntxError.from_dict(outcome.error), InvalidArgument)
            self.answered.append((asked, outcome))
        else:
            self._fresh(asked)

    def _fresh(self, asked: Ask) -> None:
        outcome = self.world.run(asked)
        self.answered.append((asked, outcome))
        refused = self.model.refuses(asked)
        assert (outcome.error or {}).get("error") == refused
        assert outcome.state == ("refused" if refused else "done")
        if refused is None:
            self.model.apply(asked)
        assert (outcome.status, outcome.version, outcome.epoch) == self._shown()

    def _shown(self):
        return self.model.status, self.model.version, self.model.epoch

    @precondition(lambda self: self.answered)
    @rule(data=st.data())
    def repeat(self, data):
        """An old command again: the old answer, and nothing done."""
        asked, outcome = data.draw(st.sampled_from(self.answered))
        assert self.world.run(asked) == replace(outcome, repeated=True)

    @precondition(lambda self: self.answered)
    @rule(data=st.data())
    def reuse(self, data):
        """An old id for something else: a conflict, and nothing done."""
        asked, _ = data.draw(st.sampled_from(self.answered))
        error = FntxError.from_dict(self.world.run(replace(asked, reason="something else")).error)
        assert isinstance(error, CommandConflict)
        assert error.args == (str(asked.command_id), asked.trigger)

    @invariant()
    def the_row_is_the_model(self):
        row = self.world.row(self.session_id)
        assert (row["status"], row["version"], row["epoch"]) == self._shown()
        assert set(row["holds"]) == self.model.holds
        assert (row["started_at"] is not None) == self.model.started
        check_session(self.world, self.session_id)

    @invariant()
    def follow_ups_tell_the_path(self):
        """In the outbox, in order of version and position, stands every step, and nothing else of the status."""
        told = self.world.rows(
            "SELECT version, payload ->> 'to_status' AS status FROM outbox WHERE session_id = :id"
            " AND payload ->> 'session_event' = 'status_changed' ORDER BY version, position",
            id=self.session_id,
        )
        steps = self.world.transitions(self.session_id)
        assert [(row["version"], row["status"]) for row in told] == [(s["version"], s["to_status"]) for s in steps]


@pytest.mark.timeout(300)
def test_a_session_is_what_its_model_says(module_database_url):
    """Version monotone, chain whole, path connected, holds only where it does not run, after every step."""
    # Patient: a machine that stalls is not what this is about.
    waits = ("db_lock_timeout_ms", "db_statement_timeout_ms", "db_idle_in_transaction_timeout_ms")
    world = World.over(module_database_url, **dict.fromkeys(waits, 60_000))
    bounded = settings(
        max_examples=25, stateful_step_count=30, deadline=None, derandomize=False, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(lambda: Sessions(world), settings=bounded)
    world.close()
