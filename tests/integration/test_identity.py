"""What a checkpoint was made under, and what is said when the session is something else by now."""

from uuid import uuid4

import pytest
from state_world import make_world

from fntx_sessions.exceptions import NotFound, PreconditionFailed
from fntx_sessions.state import identity
from fntx_sessions.state.checkpoints import create_checkpoint
from fntx_sessions.state.identity import check_identity, differences


@pytest.fixture
def world(settings):
    with make_world(settings) as made:
        yield made


@pytest.fixture
def kept(world):
    """A checkpoint of a session with a template, a roster and a config."""
    [session_id] = world.sessions(1)
    world.run(
        "UPDATE sessions SET template_name = 'Regular', template_version = 1, roster = '[\"A\", \"B\"]', "
        'config = \'{"hold": 5.0, "feed": {"kind": "published"}}\''
    )
    return create_checkpoint(*world.stores, session_id, "manual")


def test_nothing_differs_at_first(world, kept):
    """The session's own checkpoint is restored without a word."""
    assert differences(world.engine, kept) == []
    check_identity(world.engine, kept.session_id, kept.identity, None)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("template_version = 2", ["template Regular v1 -> Regular v2"]),
        ('roster = \'["B", "C"]\'', ["roster: no longer A", "roster: new C"]),
        ("config = config || '{\"hold\": 7.5}'", ["config.hold 5.0 -> 7.5"]),
        ("config = config || '{\"new\": true}'", ["config.new not set -> true"]),
        ("config = config - 'hold'", ["config.hold 5.0 -> not set"]),
    ],
)
def test_what_changed_is_said_in_words(world, kept, change, told):
    """The part, what it was and what it is; restoring is refused with the same words and the flag to give."""
    world.run(f"UPDATE sessions SET {change}")
    assert differences(world.engine, kept) == told
    with pytest.raises(PreconditionFailed) as refused:
        check_identity(world.engine, kept.session_id, kept.identity, None)
    assert "; ".join(told) in str(refused.value)
    assert f"--accept-identity {kept.identity[:12]}" in str(refused.value)


def test_a_long_value_is_named_without_its_content(world, kept):
    """A feed of a whole day is kept as a hash: that it changed is said, not what it held."""
    world.run("UPDATE sessions SET config = config || jsonb_build_object('feed', repeat('x', 500))")
    [told] = differences(world.engine, kept)
    assert told.startswith('config.feed {"kind":"published"} -> sha256:')


def test_another_code_version_is_another_identity(world, kept, monkeypatch):
    """State of one version is not given to the agents of another unasked."""
    monkeypatch.setattr(identity, "_code", lambda: "99.0")
    [told] = differences(world.engine, kept)
    assert told.startswith("code ")
    assert told.endswith(" -> 99.0")


def test_only_its_own_name_is_accepted(world, kept):
    """The whole identity, or 8 or more of its first digits; another one's name accepts nothing."""
    world.run("UPDATE sessions SET template_version = 2")
    for accept in (kept.identity, kept.identity[:8], kept.identity[:20].upper()):
        check_identity(world.engine, kept.session_id, kept.identity, accept)
    for accept in (kept.identity[:7], "0" * 12, ""):
        with pytest.raises(PreconditionFailed):
            check_identity(world.engine, kept.session_id, kept.identity, accept)


def test_facts_that_were_changed_are_not_believed(world, kept):
    """A row is plain: facts whose hash is not the identity say nothing; the two identities are named instead."""
    world.run("UPDATE checkpoints SET made_under = jsonb_set(made_under, '{code}', '\"0.0\"')")
    world.run("UPDATE sessions SET template_version = 2")
    assert differences(world.engine, kept)[0].startswith(f"it was made under identity {kept.identity[:12]}")


def test_an_unknown_session_is_not_found(world, kept):
    """There is nothing to compare with."""
    with pytest.raises(NotFound):
        check_identity(world.engine, uuid4(), kept.identity, None)
