"""Keys that sign are changed while tokens go on, and key files are read with care."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from fntx_sessions.exceptions import InvalidArgument, StackError, Unauthenticated
from fntx_sessions.security import key_files, keys, signing_keys
from fntx_sessions.security.local import ensure_local_keys, process_token
from fntx_sessions.security.tokens import issue, verify
from fntx_sessions.settings import Settings


@pytest.fixture
def home(tmp_path):
    ensure_local_keys(tmp_path)
    return Settings(home=tmp_path)


def states(pair):
    return {one.key_id: one.state for one in signing_keys.list_keys(pair)}


def test_a_rotation_leaves_no_moment_without_a_key(home):
    """Tokens of the old key verify before, during and after; once it is retired they do not, and the new ones do."""
    pair, old = keys.signing_pair(home), issue(home, "ann", ["viewer"], 600)
    (first,) = states(pair)
    staged = signing_keys.stage(pair)
    assert signing_keys.stage(pair) == staged
    assert states(pair) == {first: "current", staged: "staged"}
    assert verify(issue(home, "bob", ["viewer"], 60), home).name == "bob"
    assert signing_keys.rotate(pair) == staged
    assert states(pair) == {first: "retired", staged: "current"}
    new = issue(home, "bob", ["viewer"], 60)
    assert (verify(old, home).name, verify(new, home).name) == ("ann", "bob")
    signing_keys.retire(pair, first, 600, at_once=True)
    assert states(pair) == {staged: "current"}
    assert verify(new, home).name == "bob"
    with pytest.raises(Unauthenticated, match="does not know"):
        verify(old, home)


def test_a_key_is_not_taken_out_while_its_tokens_may_be_good(home):
    """Retiring waits for the longest life, unless told to end them; the key that signs is never taken out."""
    pair = keys.signing_pair(home)
    (first,) = states(pair)
    signing_keys.rotate(pair)
    with pytest.raises(InvalidArgument, match="may be good still"):
        signing_keys.retire(pair, first, 600)
    current = next(key for key, state in states(pair).items() if state == "current")
    with pytest.raises(InvalidArgument, match="the one that signs"):
        signing_keys.retire(pair, current, 0, at_once=True)
    with pytest.raises(InvalidArgument, match="is not in"):
        signing_keys.retire(pair, "feed", 0)
    signing_keys.retire(pair, first, -1)
    assert states(pair) == {current: "current"}


def test_a_staged_key_that_is_not_wanted_signs_nothing(home):
    """Taken out before it signed, it is gone with its private file, and the next rotation makes another."""
    pair = keys.signing_pair(home)
    staged = signing_keys.stage(pair)
    signing_keys.retire(pair, staged, 600)
    assert not pair.staged.exists()
    assert signing_keys.rotate(pair) != staged


def test_killed_between_two_files_it_is_run_again(home, monkeypatch):
    """A rotation that ended after it changed the private file left a key that verifies; the next one mends the rest."""
    pair = keys.signing_pair(home)
    old = issue(home, "ann", ["viewer"], 60)
    staged = signing_keys.stage(pair)
    pair.staged.replace(pair.private)
    assert verify(issue(home, "bob", ["viewer"], 60), home).name == "bob"
    assert verify(old, home).name == "ann"
    assert states(pair)[staged] == "current"
    signing_keys.rotate(pair)
    retired = [one for one in signing_keys.list_keys(pair) if one.state == "retired"]
    assert len(retired) == 2
    assert all(one.retired_at - keys.now() <= timedelta(seconds=1) for one in retired)


def test_the_systems_key_changes_by_itself(home):
    """What workers sign with changes at once, and people's tokens are not touched by it."""
    before, mine = process_token(home), issue(home, "ann", ["viewer"], 60)
    (first,) = states(keys.system_pair(home))
    signing_keys.rotate(keys.system_pair(home))
    after = process_token(home)
    assert after != before
    assert {verify(one, home).name for one in (before, after)} == {"system"}
    signing_keys.retire(keys.system_pair(home), first, 0, at_once=True)
    assert verify(after, home).name == "system"
    assert verify(mine, home).name == "ann"
    with pytest.raises(Unauthenticated):
        verify(before, home)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def linked(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir(mode=0o700)


PRIVATE = {
    "world-readable": (lambda path: path.chmod(0o604), "open to other users"),
    "half-written": (cut, "cut off"),
    "empty": (lambda path: path.write_bytes(b""), "no Ed25519 private key"),
    "a link": (linked, "symbolic link"),
    "a folder": (a_folder, "is no file"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path, 0o600)), "is no file"),
}


@pytest.mark.parametrize("harm", PRIVATE)
@pytest.mark.parametrize("pair", ["signing", "system"])
def test_a_private_key_file_that_is_not_right_is_refused_by_name(home, harm, pair):
    """The error names the file and what is wrong with it; nothing is signed."""
    path = getattr(keys.LocalKeys.of(home.home), pair).private
    act, told = PRIVATE[harm]
    act(path)
    with pytest.raises(StackError, match=told) as refused:
        issue(home, "system" if pair == "system" else "ann", ["system" if pair == "system" else "viewer"], 60)
    assert path.name in str(refused.value)


def test_a_half_written_key_is_changed_for_another(home):
    """What it signed verifies until it is retired; the new one signs at once."""
    pair, old = keys.signing_pair(home), issue(home, "ann", ["viewer"], 600)
    pair.private.write_bytes(pair.private.read_bytes()[:40])
    following = signing_keys.rotate(pair)
    assert states(pair)[following] == "current"
    assert [verify(one, home).name for one in (old, issue(home, "bob", ["viewer"], 60))] == ["ann", "bob"]


def test_a_missing_private_key_is_told_with_the_way_out(home):
    """Who has no key cannot sign, and reads where keys come from."""
    keys.LocalKeys.of(home.home).signing_file.unlink()
    with pytest.raises(Unauthenticated, match="fntx signing-keys list"):
        issue(home, "ann", ["viewer"], 60)


PUBLIC = {
    "others may write it": (lambda path: path.chmod(0o622), "writable for other users"),
    "half-written": (cut, "cut off after 0 keys"),
    "garbage in it": (lambda path: path.write_bytes(path.read_bytes() + b"\n" + PEM_OF_NOTHING), "no Ed25519 public"),
    "empty": (lambda path: path.write_bytes(b""), "no Ed25519 public key"),
}
PEM_OF_NOTHING = b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize("harm", PUBLIC)
def test_a_public_key_file_that_is_not_right_verifies_nothing(home, harm):
    """Whoever could add a key to it could be anybody: what others may write, or is damaged, is not believed."""
    token, path = issue(home, "ann", ["viewer"], 60), keys.LocalKeys.of(home.home).public_file
    act, told = PUBLIC[harm]
    act(path)
    with pytest.raises(Unauthenticated, match=told):
        verify(token, home)


def test_moments_survive_in_the_public_file(home):
    """Since when a key signs no more is in the file that is copied to every host."""
    pair = keys.signing_pair(home)
    signing_keys.rotate(pair)
    copy = home.home / "copy.pem"
    copy.write_bytes(pair.public.read_bytes())
    found = key_files.load_public_keys(copy)
    assert {one.key_id: one.retired_at for one in signing_keys.list_keys(pair)} == {
        key_id: one.retired_at for key_id, one in found.items()
    }
    assert sum(one.retired_at is not None for one in found.values()) == 1
