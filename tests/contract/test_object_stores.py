"""What every cold store promises, tried on both: a bucket over HTTP and a folder."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from gcs_server import GcsServer, free_port

from fntx_sessions.exceptions import Unavailable
from fntx_sessions.state.objects.base import ObjectStore
from fntx_sessions.state.objects.folder import FolderStore
from fntx_sessions.state.objects.gcs import GcsStore
from fntx_sessions.state.objects.waits import Waits

LARGE = bytes(range(256)) * 4096 * 3  # above the size from which a bucket takes it in pieces


@pytest.fixture(params=["gcs", "folder"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    """One of the stores, empty."""
    if request.param == "gcs":
        return request.getfixturevalue("gcs_server").store()
    return FolderStore(request.getfixturevalue("tmp_path") / "cold", make=True)


def names(found: Iterator) -> list[str]:
    return [info.name for info in found]


def test_an_empty_store_has_nothing(store: ObjectStore):
    """What is not there is None, lists as nothing, and is no error to destroy."""
    assert store.read("a/b") is None
    assert store.info("a/b") is None
    assert names(store.list("")) == []
    assert store.destroy("a/b") == 0


@pytest.mark.parametrize("data", [b"", b"x", LARGE, LARGE[: 2 << 20]], ids=["empty", "small", "large", "whole pieces"])
def test_what_is_created_is_read_back(store: ObjectStore, data: bytes):
    """Bytes of any size come back as they were, with their size, their time and their metadata beside them."""
    assert store.create("sessions/1/save", data, {"kind": "save", "epoch": "7"}) is True
    assert store.read("sessions/1/save") == data
    info = store.info("sessions/1/save")
    assert (info.name, info.size_bytes, dict(info.metadata)) == (
        "sessions/1/save",
        len(data),
        {"kind": "save", "epoch": "7"},
    )
    assert abs(datetime.now(UTC) - info.created_at) < timedelta(hours=1)
    assert list(store.list("sessions/")) == [info]


def test_a_name_is_created_once(store: ObjectStore):
    """Creating what is there is False, be it of the same bytes, and leaves bytes and metadata alone."""
    assert store.create("a", b"first", {"n": "1"}) is True
    assert store.create("a", b"first", {"n": "1"}) is False
    assert store.create("a", b"second", {"n": "2"}) is False
    assert store.read("a") == b"first"
    assert store.info("a").metadata == {"n": "1"}


def test_replacing_takes_the_place_of_whatever_is_there(store: ObjectStore):
    """replace() writes where nothing is, and in place of what is, bytes and metadata."""
    for data in (b"first", LARGE, b""):
        store.replace("a", data, {"size": str(len(data))})
        assert store.read("a") == data
        assert store.info("a").metadata == {"size": str(len(data))}


def test_replacing_by_comparison_asks_about_what_is_there(store: ObjectStore):
    """replace_if() writes where nothing is, and else as its caller says of the metadata that is there."""
    asked = []

    def newer(metadata) -> bool:
        asked.append(dict(metadata))
        return int(metadata["n"]) < 5

    assert store.replace_if("a", b"1", {"n": "1"}, newer) is True
    assert asked == []
    assert store.replace_if("a", b"5", {"n": "5"}, newer) is True
    assert store.replace_if("a", b"6", {"n": "6"}, newer) is False
    assert asked == [{"n": "1"}, {"n": "5"}]
    assert store.read("a") == b"5"


def test_names_are_listed_in_their_order_by_any_prefix(store: ObjectStore):
    """A prefix is a string, not a directory; the order is that of the names, also where / meets other signs."""
    made = ["a-b", "a", "a/b", "a/b/c", "a/b-c", "a/bc", "a0", "b/x", "sessions/1/save", "sessions/10/save"]
    for name in made:
        store.create(name, b"", {})
    for prefix in ("", "a", "a/", "a/b", "a/b/", "sessions/1", "sessions/1/", "nothing", "b/x/y"):
        assert names(store.list(prefix)) == sorted(name for name in made if name.startswith(prefix))


@pytest.mark.parametrize(
    "name",
    ["..", "../out", "a/../../out", ".", ".incoming/x", "a b", "ä/€", "a%2Fb", "a\\b", "x.object", "a:b?c=d&e#f"],
)
def test_an_odd_name_is_a_name_like_any_other(store: ObjectStore, name: str, tmp_path: Path):
    """Names that mean something to file systems or URLs are only names: nothing lands outside, nothing is mixed up."""
    assert store.create(name, b"odd", {}) is True
    assert store.create("x", b"other", {}) is True
    assert store.read(name) == b"odd"
    assert sorted(names(store.list(""))) == sorted([name, "x"])
    assert store.destroy(name) == 1
    assert names(store.list("")) == ["x"]
    assert [path.name for path in tmp_path.iterdir()] in (["cold"], [])


def test_destroying_takes_one_object(store: ObjectStore):
    """A destroyed object is gone, one whose name begins like it stays, and the name is free again."""
    for name in ("a/b", "a/bc", "a/b/c"):
        store.create(name, name.encode(), {})
    assert store.destroy("a/b") == 1
    assert store.destroy("a/b") == 0
    assert names(store.list("")) == ["a/b/c", "a/bc"]
    assert store.create("a/b", b"again", {}) is True


def test_a_check_leaves_nothing(store: ObjectStore):
    """check() writes, reads and destroys an object of its own."""
    store.check()
    assert names(store.list("")) == []


def test_of_many_creators_one_wins(store: ObjectStore):
    """Of objects created at once under one name exactly one is told so, and its bytes are there."""
    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(lambda n: store.create("deep/er/a", b"%d" % n, {"n": str(n)}), range(6)))
    assert sum(won) == 1
    assert store.read("deep/er/a") == b"%d" % won.index(True)
    assert store.info("deep/er/a").metadata == {"n": str(won.index(True))}


def test_comparing_and_replacing_is_one_step(store: ObjectStore):
    """Of many that replace by comparison none that is older ends above a newer one; readers see one of them whole."""
    done, seen = threading.Event(), set()

    def write(n: int) -> bool:
        return store.replace_if("a", b"%03d" % n * 10_000, {"n": str(n)}, lambda there: int(there["n"]) < n)

    def watch() -> None:
        while not done.is_set():
            seen.add(store.read("a"))

    with ThreadPoolExecutor(6) as pool:
        watching = pool.submit(watch)
        list(pool.map(write, [3, 1, 9, 4, 7, 2, 8, 6, 5]))
        done.set()
        watching.result()
    assert store.info("a").metadata == {"n": "9"}
    assert store.read("a") == b"009" * 10_000
    assert seen <= {None, *(b"%03d" % n * 10_000 for n in range(10))}


def test_writers_and_destroyers_of_one_place_do_not_trip_over_each_other(store: ObjectStore):
    """Objects come and go side by side: every create under a free name succeeds, every destroy finds its own."""

    def come_and_go(n: int) -> int:
        made = [store.create(f"deep/er/{n}-{i}", b"x", {}) for i in range(8)]
        return sum(made) + sum(store.destroy(f"deep/er/{n}-{i}") for i in range(8))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(come_and_go, range(4))) == [16] * 4
    assert names(store.list("")) == []


@pytest.mark.parametrize("kind", ["no server", "no bucket", "no folder"])
def test_a_store_out_of_reach_says_so(kind: str, gcs_server: GcsServer, tmp_path: Path):
    """Nothing is ever taken for absent because the store is: each call is Unavailable, with a way out."""
    hurried = Waits(timeout_s=5.0, retry_s=0.0)
    store: ObjectStore = {
        "no server": lambda: GcsStore("nowhere", "", hurried, f"http://127.0.0.1:{free_port()}"),
        "no bucket": lambda: GcsStore("nowhere", "", hurried, gcs_server.url),
        "no folder": lambda: FolderStore(tmp_path / "not mounted", make=False),
    }[kind]()
    calls: list[Callable[[], object]] = [
        lambda: store.read("a"),
        lambda: store.info("a"),
        lambda: list(store.list("")),
        lambda: store.create("a", b"", {}),
        lambda: store.replace("a", b"", {}),
        lambda: store.destroy("a"),
        store.check,
    ]
    for call in calls:
        with pytest.raises(Unavailable) as raised:
            call()
        assert raised.value.named()["fix"]
    if kind == "no bucket":
        assert "gcloud storage buckets create gs://nowhere" in str(raised.value)
    if kind == "no folder":
        assert f"mkdir -m 700 {tmp_path / 'not mounted'}" in str(raised.value)
