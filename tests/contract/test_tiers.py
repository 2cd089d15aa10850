"""What every tier promises, tried on all five: memory, Redis, Postgres, a bucket over HTTP, a folder."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from uuid import uuid4

import pytest
from tier_cases import (
    TIERS,
    Case,
    checkpoint,
    folder_case,
    gcs_case,
    memory_case,
    postgres_case,
    redis_case,
    save,
    tier_over_nothing,
)

from fntx_sessions.exceptions import Unavailable
from fntx_sessions.state.tiers.base import Ref


@pytest.fixture(params=TIERS)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """One of the tiers, empty; only its own server is asked for."""
    with ExitStack() as opened:
        if request.param == "memory":
            yield memory_case()
        elif request.param == "redis":
            yield opened.enter_context(redis_case(request.getfixturevalue("redis_url")))
        elif request.param == "postgres":
            yield opened.enter_context(postgres_case(request.getfixturevalue("settings")))
        elif request.param == "gcs":
            yield gcs_case(request.getfixturevalue("gcs_server"))
        else:
            yield folder_case(request.getfixturevalue("tmp_path") / "cold")


def test_nothing_is_none(case: Case):
    """What a tier has not got is None, not an error; there is nothing to list, and deleting it does nothing."""
    session = case.new_session()
    one = checkpoint(session)
    assert case.tier.get(Ref(session)) is None
    assert case.tier.get(Ref(session, one.checkpoint_id)) is None
    assert case.tier.held(session) == []
    case.tier.delete(Ref(session))
    case.tier.delete(Ref(session, one.checkpoint_id))


@pytest.mark.parametrize("sizes", [(), (1,), (9_000, 20_000), (3_000_000, 2_500_000)], ids=str)
def test_what_is_put_comes_back_byte_for_byte(case: Case, sizes: tuple[int, ...]):
    """A save and a checkpoint come back as they were put: inline only, with small, and with large parts."""
    session = case.new_session()
    for packed in (save(session, 3, sizes), checkpoint(session, 2, sizes)):
        assert case.tier.put(packed) is True
        assert case.tier.get(Ref(session, packed.checkpoint_id)) == packed


def test_a_checkpoint_without_any_part_may_have_an_empty_manifest(case: Case):
    """A snapshot of no bytes is held and found like any other."""
    empty = replace(checkpoint(case.new_session()), manifest=b"")
    assert case.tier.put(empty) is True
    assert case.tier.get(Ref(empty.session_id, empty.checkpoint_id)) == empty


def test_an_older_or_equal_save_never_replaces_a_newer_one(case: Case):
    """Only a higher (epoch, revision) takes the place of a save; a higher epoch wins over a higher revision."""
    session = case.new_session()
    first, newer, later_epoch = save(session, 5, (9_000,)), save(session, 6, (9_000,)), save(session, 2, epoch=2)
    assert case.tier.put(first) is True
    for stale in (save(session, 5), save(session, 4), save(session, 1)):
        assert case.tier.put(stale) is False
        assert case.tier.get(Ref(session)) == first
    assert case.tier.put(newer) is True
    assert case.tier.put(later_epoch) is True
    assert case.tier.put(save(session, 99)) is False
    assert case.tier.get(Ref(session)) == later_epoch


def test_a_checkpoint_is_written_once(case: Case):
    """A second checkpoint of the same id is refused, whatever its revision, and the first stays."""
    first = checkpoint(case.new_session(), 5, (9_000,))
    second = replace(checkpoint(first.session_id, 9, (9_000,)), checkpoint_id=first.checkpoint_id)
    assert case.tier.put(first) is True
    assert case.tier.put(first) is False
    assert case.tier.put(second) is False
    assert case.tier.get(Ref(first.session_id, first.checkpoint_id)) == first


def test_deleting_takes_one_and_only_one(case: Case):
    """A deleted snapshot is gone, others of the session stay whole, and deleting again is no error."""
    session = case.new_session()
    shared = save(session, 3, (9_000, 9_000))
    other = replace(checkpoint(session, 3), parts=shared.parts)
    gone = replace(checkpoint(session, 3), parts=shared.parts)
    for packed in (shared, other, gone):
        assert case.tier.put(packed) is True
    for _ in range(2):
        case.tier.delete(Ref(session, gone.checkpoint_id))
        assert case.tier.get(Ref(session, gone.checkpoint_id)) is None
        assert case.tier.get(Ref(session, other.checkpoint_id)) == other
        assert case.tier.get(Ref(session)) == shared
    case.tier.delete(Ref(session))
    assert case.tier.get(Ref(session)) is None
    assert case.tier.get(Ref(session, other.checkpoint_id)) == other
    assert [held.ref for held in case.tier.held(session)] == [Ref(session, other.checkpoint_id)]


def test_a_deleted_save_may_be_put_again(case: Case):
    """Deleting forgets the mark too: what was held before may come back, as after a damaged copy."""
    packed = save(case.new_session(), 3, (9_000,))
    assert case.tier.put(packed) is True
    case.tier.delete(Ref(packed.session_id))
    assert case.tier.put(packed) is True
    assert case.tier.get(Ref(packed.session_id)) == packed


def test_held_lists_the_save_first_then_checkpoints_newest_first(case: Case):
    """held() says reference, epoch, revision and size of each snapshot of this session and of no other."""
    session, foreign = case.new_session(), case.new_session()
    old, mid, new = checkpoint(session, 1), checkpoint(session, 9, (9_000,)), checkpoint(session, 2, epoch=2)
    latest = save(session, 10)
    for packed in (mid, latest, old, save(foreign), new):
        assert case.tier.put(packed) is True
    held = case.tier.held(session)
    assert [one.ref for one in held] == [Ref(session, packed.checkpoint_id) for packed in (latest, new, mid, old)]
    assert [(one.epoch, one.revision) for one in held] == [(1, 10), (2, 2), (1, 9), (1, 1)]
    assert all(one.size_bytes > 0 for one in held)
    assert held[2].size_bytes >= mid.size > held[1].size_bytes


def test_of_many_writers_the_newest_save_wins_whole(case: Case):
    """Saves put at once by many leave the newest, and whoever reads meanwhile sees one of them, never a mix."""
    session = case.new_session()
    common = save(session, 1, (20_000,))
    puts = [replace(save(session, revision, (20_000,)), epoch=1) for revision in (2, 3, 4, 5, 6, 7, 8)]
    puts = [replace(packed, parts={**common.parts, **packed.parts}) for packed in puts]
    case.tier.put(common)
    done, seen = threading.Event(), []
    with ThreadPoolExecutor(5) as pool:
        reader = pool.submit(_read_until, case, Ref(session), done, seen)
        written = list(pool.map(case.tier.put, [*puts[::2], *puts[1::2][::-1]]))
        done.set()
        reader.result()
    assert any(written)
    assert case.tier.get(Ref(session)) == puts[-1]
    assert all(packed in [common, *puts] for packed in seen)


def test_of_many_writers_of_one_checkpoint_one_wins(case: Case):
    """Of checkpoints put at once under one id exactly one is told that it was written, and it is the one held."""
    first = checkpoint(case.new_session())
    rivals = [replace(checkpoint(first.session_id, 1, (9_000,)), checkpoint_id=first.checkpoint_id) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(case.tier.put, rivals))
    assert sum(written) == 1
    assert case.tier.get(Ref(first.session_id, first.checkpoint_id)) == rivals[written.index(True)]


@pytest.mark.parametrize("kind", [kind for kind in TIERS if kind != "memory"])
def test_a_tier_out_of_reach_says_so(kind: str, tmp_path):
    """Every call on a tier whose store does not run is Unavailable, with a way out, and never None."""
    with tier_over_nothing(kind, tmp_path) as tier:
        ref = Ref(uuid4())
        calls = (
            tier.get,
            tier.delete,
            lambda ref: tier.put(save(ref.session_id)),
            lambda ref: tier.held(ref.session_id),
        )
        for call in calls:
            with pytest.raises(Unavailable) as raised:
                call(ref)
            assert raised.value.named()["fix"]


def _read_until(case: Case, ref: Ref, done: threading.Event, seen: list) -> None:
    while not done.is_set():
        seen.append(case.tier.get(ref))
