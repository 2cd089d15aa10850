"""What agents are told of a command, whatever it was."""

from uuid import uuid4

import pytest

from fntx_sessions.lifecycle.change import Ask, Change
from fntx_sessions.lifecycle.records import outbox_of
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import Actor

ASK = Ask(Trigger.DECIDE, uuid4(), Actor("ann", frozenset()), "looks right")


@pytest.mark.parametrize(
    ("change", "reason"),
    [(Change(), "looks right"), (Change(reason="it was late"), "it was late"), (Change(reason=""), "")],
)
def test_everything_agents_are_told_has_the_epoch_and_a_reason(change, reason):
    """An agent keeps the greatest epoch it was told: no event may lack it. What an event says itself stands."""
    told = Change(reason=change.reason, follow_ups=(("event", {"event": "a"}), ("live", {"epoch": 3})))
    first, second = outbox_of({"epoch": 4}, ASK, told)
    payload = {"event": "a", "epoch": 4, "reason": reason}
    assert first == {"position": 0, "kind": "event", "payload": payload, "trace": None}
    assert second["payload"] == {"epoch": 3}
    own = Change(follow_ups=(("event", {"event": "a", "epoch": 9, "reason": "own"}),))
    assert outbox_of({"epoch": 4}, ASK, own)[0]["payload"] == {"event": "a", "epoch": 9, "reason": "own"}
