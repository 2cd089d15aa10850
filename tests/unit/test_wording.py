"""What people are told reads as English: one full stop a sentence, our own words, and the command that helps."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from fntx_sessions.caller.manager import as_id
from fntx_sessions.cli import queries
from fntx_sessions.exceptions import InvalidArgument, PreconditionFailed, Unavailable, verb
from fntx_sessions.lifecycle.arguments import CheckpointArguments, ListArguments, PruneArguments
from fntx_sessions.lifecycle.change import Ask
from fntx_sessions.lifecycle.decisions import keeping, recovery
from fntx_sessions.parsing import parse
from fntx_sessions.schemas import Model, Trigger
from fntx_sessions.security.actor import Actor

ONE = {"session_id": str(uuid4())}


def refusal(model: type[Model], arguments: dict[str, Any]) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as refused:
        parse(model, ONE | arguments)
    return refused.value


@pytest.mark.parametrize("name", ["bogus", "periodic", "transition", "final", "shutdown", "backup", "fork", "Manual"])
def test_callers_name_no_type_of_ours(name: str) -> None:
    """A checkpoint by hand is `manual`; every other type is the desk's, and refused by name, with the way out."""
    assert str(refusal(CheckpointArguments, {"checkpoint_type": name})).startswith(
        f"checkpoint_type: {name!r} is not a type that callers give. Leave it out"
    )
    assert parse(CheckpointArguments, ONE | {"checkpoint_type": "manual"}).checkpoint_type == "manual"


def test_a_pruning_of_everything_is_refused_in_our_words() -> None:
    """It names the pruning, not the arguments."""
    assert str(refusal(PruneArguments, {})) == "prune: would take everything. Give keep, older_than_s, or both."


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": "x"}, {"order": "up"}, {"id_prefix": "zzz"}])
def test_a_wrong_field_is_told_without_the_words_of_a_library(wrong: dict[str, Any]) -> None:
    """The field, and what it should be."""
    with pytest.raises(InvalidArgument) as refused:
        parse(ListArguments, wrong)
    [name] = wrong
    assert str(refused.value).startswith(f"{name}: should ")


@pytest.mark.parametrize("trigger", Trigger)
def test_what_was_done_is_a_word(trigger: Trigger) -> None:
    """Not a name of ours: audits and diagrams are read by people."""
    assert "_" not in verb(trigger)
    assert verb(trigger) != "exception"


def test_a_sentence_has_one_full_stop() -> None:
    """Also where a fact from elsewhere brought its own; dots that mean something stay."""
    told = str(Unavailable("Redis", "command not allowed when used memory > 'maxmemory'.", "See ../x ... then go on."))
    assert "'maxmemory'. Nothing was changed. See ../x ... then" in told


def test_a_sound_state_is_a_result(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`fntx validate` says so on stdout: a script that reads results reads this one."""
    found = {"valid": True, "errors": [], "warnings": []}
    monkeypatch.setattr(queries, "line", lambda: SimpleNamespace(about=lambda *_: found))
    queries.validate("1234")
    assert capsys.readouterr() == ("its state is sound\n", "")


def test_an_id_of_a_checkpoint_is_looked_up_among_checkpoints() -> None:
    """Not in the list of sessions."""
    with pytest.raises(InvalidArgument, match="fntx checkpoints ID"):
        as_id("zzz", "checkpoint_id")


@pytest.mark.parametrize(
    ("decide", "row", "told"),
    [
        (keeping.begin_checkpoint, {}, "a session that never ran has nothing to keep. Start it first."),
        (
            keeping.begin_prune([]),
            {"pinned": True},
            "it is pinned, so all its checkpoints stay. Let go of it first: `fntx unpin ID`.",
        ),
        (recovery.begin_recovery, {}, "a session that never ran has nothing to recover. Stop it and create a new one."),
    ],
)
def test_a_refusal_reads_as_a_sentence(decide: Any, row: dict[str, Any], told: str) -> None:
    """Cannot do this to that session: how things are. What to do."""
    session_id = UUID(ONE["session_id"])
    ask = Ask(Trigger.CHECKPOINT, session_id, Actor("ann", frozenset({"admin"})), "")
    known = {"status": "suspended", "started_at": None, "pinned": False, "pending": None, "command_state": None}
    with pytest.raises(PreconditionFailed) as refused:
        decide(known | row, ask)
    assert str(refused.value) == f"cannot checkpoint session {session_id}: {told}"
