"""A bucket that misbehaves, over HTTP: what is acknowledged is there, and nothing hangs or passes for another thing."""

from collections.abc import Iterator

import pytest
from gcs_server import GcsServer
from misbehaving import (
    Asked,
    Generations,
    Misbehaving,
    anything,
    breaks_in_the_middle,
    changes_what_is_sent,
    cuts_short,
    flips_a_bit,
    loses_the_answer,
    misbehaving,
    says,
)

from fntx_sessions.exceptions import IntegrityError, Unavailable
from fntx_sessions.state.objects.gcs import GcsStore
from fntx_sessions.state.objects.waits import Waits

PATIENT = Waits(timeout_s=20.0, retry_s=20.0, resumable_bytes=1 << 20)
HURRIED = Waits(timeout_s=0.2, retry_s=0.2, resumable_bytes=1 << 20)
SMALL = b"sealed" * 100
LARGE = bytes(range(256)) * 4096 * 3 + b"end"  # three pieces and a bit


@pytest.fixture
def bucket(gcs_server: GcsServer) -> str:
    return gcs_server.new_bucket()


@pytest.fixture
def proxy(gcs_server: GcsServer) -> Iterator[Misbehaving]:
    with misbehaving(gcs_server.url) as proxy:
        yield proxy


@pytest.fixture
def store(proxy: Misbehaving, bucket: str) -> GcsStore:
    """A patient store behind the proxy."""
    return GcsStore(bucket, "desk", PATIENT, proxy.url)


@pytest.fixture
def truth(gcs_server: GcsServer, bucket: str) -> GcsStore:
    """The same bucket without the proxy."""
    return GcsStore(bucket, "desk", PATIENT, gcs_server.url)


def told(call) -> str:
    with pytest.raises(Unavailable) as raised:
        call()
    return str(raised.value)


@pytest.mark.parametrize("status", [429, 503])
def test_a_bucket_that_fails_half_of_its_calls_loses_nothing(
    proxy: Misbehaving, store: GcsStore, truth: GcsStore, status: int
):
    """Every second request fails: each operation is done all the same, once."""
    proxy.on(anything, says(status), every=2)
    for number in range(2):
        assert store.create(f"a/{number}", SMALL, {"n": str(number)}) is True
        assert store.create(f"a/{number}", SMALL, {"n": "other"}) is False
    store.replace("a/1", b"new", {"n": "new"})
    assert store.read("a/0") == SMALL
    assert [(info.name, dict(info.metadata)) for info in store.list("")] == [
        ("a/0", {"n": "0"}),
        ("a/1", {"n": "new"}),
    ]
    assert store.destroy("a/0") == 1
    assert truth.read("a/1") == b"new"


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("retry_s", [0.0, 20.0], ids=["tried once", "tried again"])
def test_a_create_whose_answer_was_lost_is_a_create(
    proxy: Misbehaving, bucket: str, truth: GcsStore, data: bytes, retry_s: float
):
    """The bytes arrived, the answer did not: that is True, whether or not the library tried again and met itself."""
    store = GcsStore(bucket, "desk", Waits(20.0, retry_s, 1 << 20), proxy.url)
    proxy.on(_has_the_last_bytes, loses_the_answer, times=1)
    assert store.create("a", data, {"n": "1"}) is True
    assert truth.read("a") == data
    assert store.create("a", data, {"n": "2"}) is False
    assert truth.info("a").metadata == {"n": "1"}


def test_a_create_whose_answer_was_lost_is_not_taken_for_anothers(proxy: Misbehaving, store: GcsStore, truth: GcsStore):
    """Where somebody else's object of the same bytes is there, a lost answer does not turn it into ours."""
    truth.create("a", SMALL, {"n": "theirs"})
    proxy.on(lambda asked: asked.is_upload, loses_the_answer, times=1)
    assert store.create("a", SMALL, {"n": "ours"}) is False
    assert truth.info("a").metadata == {"n": "theirs"}


def test_a_replace_whose_answer_was_lost_does_not_undo_the_next(proxy: Misbehaving, store: GcsStore, truth: GcsStore):
    """The try after a lost answer meets what somebody wrote meanwhile, and asks before it takes its place."""
    truth.create("a", b"1", {"n": "1"})

    def overtaken(asked, on) -> None:
        on(asked)
        truth.replace("a", b"3", {"n": "3"})

    proxy.on(lambda asked: asked.is_upload, overtaken, times=1)
    assert store.replace_if("a", b"2", {"n": "2"}, lambda there: int(there["n"]) < 2) is False
    assert truth.read("a") == b"3"


def test_a_resumable_upload_goes_on_where_it_broke(proxy: Misbehaving, store: GcsStore, truth: GcsStore):
    """A piece that broke off is sent again by itself, not the whole object."""
    pieces = iter(range(100))
    proxy.on(lambda asked: asked.is_piece and next(pieces) == 1, breaks_in_the_middle)
    assert store.create("a", LARGE, {}) is True
    assert truth.read("a") == LARGE
    begun = proxy.count(lambda asked: asked.is_upload and not asked.is_piece)
    assert (begun, proxy.count(lambda asked: asked.is_piece)) == (1, 5)


def test_a_resumable_upload_of_which_a_piece_got_no_answer_is_whole(
    proxy: Misbehaving, store: GcsStore, truth: GcsStore
):
    """A piece that arrived without our knowing is sent again; a server that then holds it twice is found out."""
    pieces = iter(range(100))
    proxy.on(lambda asked: asked.is_piece and next(pieces) == 1, loses_the_answer)
    assert store.create("a", LARGE, {}) is True
    assert truth.read("a") == LARGE


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_download_cut_short_is_fetched_whole(proxy: Misbehaving, store: GcsStore, truth: GcsStore, data: bytes):
    """Half an answer is never taken for the object."""
    truth.create("a", data, {})
    proxy.on(lambda asked: asked.is_download, cuts_short, times=1)
    assert store.read("a") == data


def test_a_download_always_cut_short_is_an_error(proxy: Misbehaving, bucket: str, truth: GcsStore):
    """And where no try brings the whole, that is said."""
    truth.create("a", SMALL, {})
    proxy.on(lambda asked: asked.is_download, cuts_short)
    with pytest.raises((Unavailable, IntegrityError)):
        GcsStore(bucket, "desk", Waits(20.0, 0.0), proxy.url).read("a")


def test_a_bit_flipped_on_the_way_is_asked_for_again(proxy: Misbehaving, store: GcsStore, truth: GcsStore):
    """Its crc32c tells, and the next answer is right."""
    truth.create("a", LARGE, {})
    proxy.on(lambda asked: asked.is_download, flips_a_bit, times=2)
    assert store.read("a") == LARGE
    assert proxy.count(lambda asked: asked.is_download) == 3


def test_a_bit_that_is_always_flipped_is_a_damaged_object(proxy: Misbehaving, store: GcsStore, truth: GcsStore):
    """Bytes that never match their checksum are refused by name."""
    truth.create("a", SMALL, {})
    proxy.on(lambda asked: asked.is_download, flips_a_bit)
    with pytest.raises(IntegrityError, match=r"cold object a .*checksum does not match"):
        store.read("a")


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_bit_flipped_on_the_way_there_is_not_acknowledged(
    proxy: Misbehaving, store: GcsStore, truth: GcsStore, data: bytes
):
    """The bucket's checksum of what it took is compared with ours: sent again, or refused and nothing left behind."""
    proxy.on(_has_bytes, changes_what_is_sent, times=1)
    assert store.create("a", data, {}) is True
    assert truth.read("a") == data
    proxy.on(_has_bytes, changes_what_is_sent)
    assert "other bytes than were sent" in told(lambda: store.create("b", data, {}))
    assert truth.read("b") is None


@pytest.mark.parametrize(
    ("status", "words"),
    [(403, ["not allowed in bucket", "add-iam-policy-binding gs://"]), (401, ["credentials", "gcloud auth"])],
)
def test_a_bucket_that_refuses_us_says_what_to_grant(
    proxy: Misbehaving, store: GcsStore, status: int, words: list[str]
):
    """Forbidden and unauthorized are not tried again; each names its own way out, for every call."""
    proxy.on(anything, says(status, "does not have storage.objects.create access"))
    calls = [
        lambda: store.read("a"),
        lambda: store.info("a"),
        lambda: list(store.list("")),
        lambda: store.create("a", SMALL, {}),
        lambda: store.create("a", LARGE, {}),
        lambda: store.replace("a", SMALL, {}),
        lambda: store.destroy("a"),
        store.check,
    ]
    for call in calls:
        sentence = told(call)
        assert all(word in sentence for word in words), sentence
    assert len(proxy.asked) <= 3 * len(calls)


def test_a_bucket_that_goes_missing_is_not_an_empty_one(proxy: Misbehaving, store: GcsStore):
    """404 is what a missing bucket says too: nothing that was archived is reported as never archived."""
    proxy.on(anything, says(404, "The specified bucket does not exist."))
    for call in (lambda: store.read("a"), lambda: store.info("a"), lambda: store.destroy("a"), store.check):
        assert "gcloud storage buckets create gs://" in told(call)


def test_a_bucket_that_never_answers_is_given_up(proxy: Misbehaving, bucket: str):
    """Each wait is bounded: a call on a bucket that takes requests and says nothing is Unavailable, not for ever."""
    store = GcsStore(bucket, "desk", HURRIED, proxy.url)
    proxy.on(anything, proxy.hang)
    for call in (lambda: store.read("a"), lambda: store.create("a", SMALL, {}), lambda: store.create("a", LARGE, {})):
        assert "STORAGE_EMULATOR_HOST" in told(call)


def test_a_bucket_that_always_fails_is_given_up(proxy: Misbehaving, bucket: str):
    """Trying again ends after its time; the sentence names what the bucket said."""
    store = GcsStore(bucket, "desk", HURRIED, proxy.url)
    proxy.on(anything, says(503, "backend error"))
    assert "503" in told(lambda: store.read("a"))
    assert "503" in told(lambda: store.create("a", SMALL, {}))


def test_a_slow_bucket_is_waited_for(proxy: Misbehaving, bucket: str, truth: GcsStore):
    """An answer that does not come in time is asked for again, and what was made meanwhile is ours."""
    proxy.on(lambda asked: asked.is_upload, proxy.answers_too_late, times=1)
    store = GcsStore(bucket, "desk", Waits(timeout_s=0.5, retry_s=20.0), proxy.url)
    assert store.create("a", SMALL, {}) is True
    assert truth.read("a") == SMALL


def test_all_generations_of_an_object_are_destroyed(proxy: Misbehaving, gcs_server: GcsServer):
    """In a bucket that keeps versions, destroying asks for each generation by its number until none is left."""
    store = GcsStore(gcs_server.new_bucket(versioned=True), "desk", PATIENT, proxy.url)
    generations = Generations()
    proxy.on(lambda asked: asked.method == "DELETE", generations.delete)
    proxy.on(lambda asked: asked.query("versions") == "true", generations.listed)
    for data in (b"1", b"2", b"3"):
        store.replace("keys/x", data, {})
    store.create("keys/xyz", b"another", {})
    assert store.destroy("keys/x") == 3
    assert len(generations.deleted) == 3
    assert store.read("keys/x") is None
    assert store.read("keys/xyz") == b"another"
    assert store.destroy("keys/x") == 0


def test_a_bucket_that_keeps_generations_is_not_believed(gcs_server: GcsServer):
    """Where generations stay although they were deleted, as under a retention policy, destroying says so."""
    store = gcs_server.store(versioned=True)  # this server deletes the live generation alone
    store.create("keys/x", b"1", {})
    store.replace("keys/x", b"2", {})
    assert "still has 2 generations of keys/x" in told(lambda: store.destroy("keys/x"))


def test_without_credentials_it_says_how_to_get_some(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """Credentials are looked for at the first call, not before, and their absence names the command."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    store = GcsStore("some-bucket", "", HURRIED, None)
    assert "gcloud auth application-default login" in told(lambda: store.read("a"))


def _has_bytes(asked: Asked) -> bool:
    return asked.is_piece or (asked.is_upload and b"sealed" in asked.body)


def _has_the_last_bytes(asked: Asked) -> bool:
    return _has_bytes(asked) and not asked.headers.get("content-range", "").endswith("/*")
