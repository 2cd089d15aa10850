"""Killed at every write between a person's word and the order that follows: it is placed once or not at all."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hosting import ANN, Hosting, forget_runtimes, make_hosting, shared
from write_kills import deaths

from fntx_sessions.lifecycle import approvals, manual_orders
from fntx_sessions.lifecycle.people_arguments import ApprovalsQuery, ChangeArguments, DecisionArguments, PlaceArguments
from fntx_sessions.lifecycle.reads.approvals import list_approvals
from fntx_sessions.settings import Settings

EARLY = {"sell_put": {"entry_time": "09:30:00"}}
WAITS = {"require_confirmation": True, "approval_drift_max": 10}
PUT = {"side": "sell", "right": "put", "strike": 273}


@pytest.fixture
def settings(tmp_path: Path, module_database_url: str, redis_url: str) -> Settings:
    return shared(tmp_path, module_database_url, redis_url)


@pytest.fixture
def hosting(settings: Settings):
    with make_hosting(settings) as made:
        yield made


def asking(hosting: Hosting) -> tuple[UUID, UUID]:
    """A session whose first step has asked for an opening, and that approval."""
    session_id = hosting.started(config=WAITS, strategy_parameters=EARLY)
    hosting.step()
    [approval] = list_approvals(hosting.desk.engine, hosting.desk.redis, ApprovalsQuery(session_id=session_id))
    return session_id, approval.approval_id


def decide(hosting: Hosting, approval_id: UUID, command_id: UUID):
    arguments = DecisionArguments(approval_id=approval_id)
    return approvals.decide(hosting.desk, ANN, arguments, command_id, approve=True)


def step_in(settings: Settings, times: int = 1) -> None:
    """Step as a worker of its own would."""
    forget_runtimes()
    with make_hosting(settings) as own:
        for _ in range(times):
            own.step()


def openings(hosting: Hosting, session_id: UUID) -> list[str]:
    found = hosting.rows("SELECT state FROM order_intents WHERE session_id = :id AND opening", id=session_id)
    return [row["state"] for row in found]


def taken_over(hosting: Hosting, session_id: UUID) -> None:
    """Go on as the next worker does once the dead one's claim lapsed."""
    forget_runtimes()
    hosting.run(
        "UPDATE session_work SET step_claimed_until = NULL, host_id = NULL, relay_claimed_until = NULL, "
        "step_claimed_by = CASE WHEN step_claimed_by IS NULL THEN NULL ELSE 'interrupted' END WHERE session_id = :id",
        id=session_id,
    )
    hosting.step()
    hosting.step()


def test_an_approval_is_carried_out_once(hosting, settings, tmp_path):
    """Whichever write the executor's process dies at, one opening comes of the approval, and the books agree."""
    asked = {}

    def fresh():
        hosting.run("UPDATE session_work SET next_step_at = NULL")  # of the one before
        asked["id"], approval_id = asking(hosting)
        decide(hosting, approval_id, uuid4())

    for died in deaths(lambda: step_in(settings), tmp_path, fresh):
        taken_over(hosting, asked["id"])
        assert len(openings(hosting, asked["id"])) == 1, died
        [row] = hosting.rows("SELECT state FROM approvals WHERE session_id = :id", id=asked["id"])
        assert row["state"] == "executed", died
        hosting.check_books(asked["id"])


def test_a_decision_is_made_once(hosting, settings, tmp_path):
    """Whichever write the approving process dies at, asked again under its id it is approved, by one command."""
    asked = {}

    def fresh():
        hosting.run("UPDATE session_work SET next_step_at = NULL")  # of the one before
        asked["id"], asked["approval"] = asking(hosting)
        asked["command"] = uuid4()

    def act():
        with make_hosting(settings) as own:
            decide(own, asked["approval"], asked["command"])

    for died in deaths(act, tmp_path, fresh):
        outcome = decide(hosting, asked["approval"], asked["command"])
        assert outcome.extra["approval_state"] == "approved", died
        told = "SELECT 1 FROM events WHERE session_id = :id AND event_type = 'approval_approved'"
        assert len(hosting.rows(told, id=asked["id"])) == 1, died


def test_a_change_never_works_twice(hosting, settings, tmp_path):
    """Whichever write the executor dies at while it replaces an order, at most one of the two ever works or fills."""
    asked = {}

    def fresh():
        hosting.run("UPDATE session_work SET next_step_at = NULL")  # of the one before
        asked["id"] = hosting.started(enabled_strategies=[])
        hosting.step()
        order = PlaceArguments.model_validate({"session_id": asked["id"], "limit": 9, "legs": [PUT]})
        placed = manual_orders.place(hosting.desk, ANN, order, uuid4())
        hosting.step()
        arguments = ChangeArguments(order_id=UUID(placed.extra["order_id"]), limit=8)
        assert manual_orders.change(hosting.desk, ANN, arguments, uuid4()).state == "done"

    for died in deaths(lambda: step_in(settings, 2), tmp_path, fresh):
        assert len(hosting.broker.open_orders(asked["id"])) <= 1, died
        taken_over(hosting, asked["id"])
        # Killed between its intent and the broker it never arrived there: told so, and not sent by itself.
        assert sorted(openings(hosting, asked["id"])) in (["cancelled", "working"], ["cancelled", "rejected"]), died
        assert len(hosting.broker.open_orders(asked["id"])) == openings(hosting, asked["id"]).count("working"), died
        hosting.check_books(asked["id"])
