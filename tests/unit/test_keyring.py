"""The key ring: one a fleet, for its owner's eyes alone, never made by whoever only uses it."""

import logging
import stat
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest

from fntx_sessions.exceptions import IntegrityError, InvalidArgument, StackError, Unavailable
from fntx_sessions.security import ring_changes
from fntx_sessions.security.keyring import Wrapped, create_ring, ensure_ring, load_ring, new_ring, parse_ring, ring_file
from fntx_sessions.security.keys import signing_pair, system_pair
from fntx_sessions.security.local import ensure_local_keys
from fntx_sessions.settings import Settings
from fntx_sessions.stack import Stack, doctor
from fntx_sessions.stack.ring_status import diagnose_wrapped
from fntx_sessions.stack.signing_status import diagnose_signing


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.delenv("FNTX_KEY_RING")
    return Settings(home=tmp_path)


def test_a_process_makes_no_ring_of_its_own(settings):
    """Reading where there is none says what to run and that the ring is shared, and leaves nothing behind."""
    with pytest.raises(Unavailable, match=r"a fleet shares one.*fntx keys init"):
        load_ring(settings)
    assert not ring_file(settings).parent.exists()


def test_init_makes_one_and_never_another(settings):
    """Mode 0600, in the keys' folder; a second call refuses and changes nothing."""
    ring = create_ring(settings)
    path = ring_file(settings)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(InvalidArgument, match="exists already"):
        create_ring(settings)
    assert path.read_bytes() == before
    assert load_ring(settings).current == ring.current


def test_the_embedded_stack_has_one_and_starts_at_once_agree(settings):
    """`fntx up` makes it where the home lacks one; whoever wins, all wrap and unwrap with the same keys."""
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(ensure_ring, [settings.home] * 8))
    assert paths == {ring_file(settings)}
    made = ring_file(settings).read_bytes()
    ensure_local_keys(settings.home)
    assert ring_file(settings).read_bytes() == made
    assert {path.name for path in paths.pop().parent.iterdir()} == {
        "ring.json", "signing.pem", "public.pem", "system.pem", "system-public.pem", "admin.token",
    }  # fmt: skip


def test_a_desk_that_keeps_its_ring_elsewhere_gets_none_in_its_home(tmp_path, monkeypatch):
    """Two rings at hand would be one too many."""
    monkeypatch.setenv("FNTX_KEY_RING_FILE", str(tmp_path / "elsewhere.json"))
    ensure_local_keys(tmp_path / "home")
    assert not (tmp_path / "home" / "keys" / "ring.json").exists()


def test_the_environment_goes_before_the_file(settings):
    """FNTX_KEY_RING, then FNTX_KEY_RING_FILE, then the home's."""
    create_ring(settings)
    other, third = new_ring(), new_ring()
    path = settings.home / "other.json"
    path.touch(0o600)
    path.write_bytes(other.to_bytes())
    named = settings.model_copy(update={"key_ring_file": path})
    assert load_ring(named).current == other.current
    assert load_ring(Settings(key_ring=third.to_bytes().decode(), key_ring_file=path)).current == third.current


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660])
def test_a_ring_open_to_others_is_refused(settings, bits):
    """It may be known to them already; the error says how to close it, also once it was read before."""
    create_ring(settings)
    ring_file(settings).chmod(bits)
    with pytest.raises(StackError, match="chmod 600"):
        load_ring(settings)


DAMAGED = {
    "empty": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "no current key": b'{"format": 1, "current": "x", "keys": {}}',
    "short key": b'{"format": 1, "current": "x", "keys": {"x": {"key": "c2VjcmV0", "created_at": "2024-01-01"}}}',
    "not base64": b'{"format": 1, "current": "x", "keys": {"x": {"key": "sec*ret!", "created_at": "2024-01-01"}}}',
}  # fmt: skip


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_what_is_no_ring_is_refused_without_being_quoted(data):
    """The error names the place, never a byte of what might be a key."""
    with pytest.raises(StackError, match="somewhere is not a key ring") as refused:
        parse_ring(data, "somewhere")
    assert "c2Vj" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_ring_of_a_newer_version_and_a_retired_current_key_are_named():
    """Neither is guessed at."""
    ring = orjson.loads(new_ring().to_bytes())
    with pytest.raises(StackError, match="format 2, not 1"):
        parse_ring(orjson.dumps(ring | {"format": 2}), "it")
    ring["keys"][ring["current"]]["retired_at"] = "2024-01-01T00:00:00+00:00"
    with pytest.raises(StackError, match="retired one"):
        parse_ring(orjson.dumps(ring), "it")


def test_secrets_show_nowhere(settings, caplog):
    """Not in a repr of ring, key or settings, and not in what is logged or raised."""
    ring = create_ring(settings)
    [secret] = [key["key"] for key in orjson.loads(ring.to_bytes())["keys"].values()]
    given = Settings(key_ring=ring.to_bytes().decode())
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("x").warning("%r %r %r %s", ring, ring.keys[ring.current], given, load_ring(given))
    assert ring.current in caplog.text
    assert secret not in caplog.text
    assert repr(ring.keys[ring.current].secret) not in caplog.text


def test_what_is_wrapped_opens_only_for_what_it_was_wrapped_for(settings):
    """Another binding, a flipped bit and another ring's key are each named."""
    ring = new_ring("it")
    wrapped = ring.wrap(b"k" * 32, b"for this")
    assert ring.unwrap(wrapped, b"for this") == b"k" * 32
    flipped = Wrapped(wrapped.ring_key_id, wrapped.data[:-1] + bytes([wrapped.data[-1] ^ 1]))
    for bad, binding in ((wrapped, b"for that"), (flipped, b"for this"), (Wrapped(ring.current, b""), b"for this")):
        with pytest.raises(IntegrityError, match="does not open"):
            ring.unwrap(bad, binding)
    with pytest.raises(Unavailable, match="has no key"):
        new_ring().unwrap(wrapped, b"for this")


def test_a_changed_ring_is_read_without_a_restart(settings):
    """The next use sees a new key; what the former one wrapped still opens."""
    wrapped = create_ring(settings).wrap(b"k" * 32, b"")
    advanced = ring_changes.advance(settings)
    assert load_ring(settings).current == advanced.current != wrapped.ring_key_id
    assert load_ring(settings).unwrap(wrapped, b"") == b"k" * 32


def test_keys_are_staged_made_current_retired_and_removed(settings):
    """The current key can be neither retired nor removed; a staged one is what the next rotation takes."""
    first = create_ring(settings).current
    [staged] = ring_changes.stage(settings).staged()
    assert load_ring(settings).current == first
    assert ring_changes.advance(settings).current == staged.key_id
    assert load_ring(settings).keys[first].retired_at is not None
    for change in (ring_changes.retire, ring_changes.remove):
        with pytest.raises(InvalidArgument, match="current one"):
            change(settings, staged.key_id)
        with pytest.raises(InvalidArgument, match="is not in"):
            change(settings, "nobody")
    assert list(ring_changes.remove(settings, first).keys) == [staged.key_id]
    [other] = ring_changes.stage(settings).staged()
    assert ring_changes.retire(settings, other.key_id).staged() == []


def test_a_ring_from_the_environment_is_changed_where_it_comes_from():
    """It is not a file of ours: the error says so, and nothing is written."""
    with pytest.raises(InvalidArgument, match="FNTX_KEY_RING"), ring_changes.changing(Settings()):
        pytest.fail("locked what is no file")
    with pytest.raises(InvalidArgument, match="holds a ring already"):
        create_ring(Settings())


def test_the_doctor_sees_what_another_ring_sealed(settings):
    """A new ring in the place of the one that is gone looks sound by itself: what hangs on the other is counted."""
    assert list(diagnose_wrapped(settings, Counter())) == []
    own = create_ring(settings).current
    assert list(diagnose_wrapped(settings, Counter({own: 3}))) == []
    [check] = diagnose_wrapped(settings, Counter({own: 3, "95e5": 4, "77aa": 1}))
    assert (check.name, check.result) == ("sealed data", "fail")
    assert "5 data keys are wrapped with 77aa, 95e5, not in this key ring" in check.meaning
    assert "put back the key ring that was there" in check.fix


def test_the_doctor_misses_the_systems_key(settings):
    """Nothing else signs for workers and beat: it is no key that is kept elsewhere, as that of people may be."""
    ensure_local_keys(settings.home)
    assert [check.result for check in diagnose_signing(settings)] == ["ok", "ok"]
    for pair in (signing_pair(settings), system_pair(settings)):
        pair.private.unlink()
    people, system = diagnose_signing(settings)
    assert (people.result, system.result) == ("ok", "fail")
    assert "no exit runs" in system.meaning
    assert "fntx up" in system.fix


def test_the_doctor_looks_at_the_ring(settings, monkeypatch):
    """No ring, one open to others, an old key: each is said, with what to run."""
    stack = Stack(settings.home)
    assert (doctor._ring(stack).result, doctor._ring(stack).name) == ("fail", "key ring")
    assert "fntx keys init" in doctor._ring(stack).fix
    create_ring(settings)
    assert doctor._ring(stack).result == "ok"
    monkeypatch.setattr(doctor, "KEY_OLD_DAYS", -1)
    assert doctor._ring(stack).fix == "fntx keys rotate"
    ring_file(settings).chmod(0o644)
    assert "chmod 600" in doctor._ring(stack).fix
