"""A folder that is damaged, full, closed, or whose writer is killed: old or new, never a mix, and always said."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fntx_sessions.exceptions import IntegrityError, InvalidArgument, Unavailable
from fntx_sessions.state.objects import folder_tree
from fntx_sessions.state.objects.folder import FolderStore
from fntx_sessions.testing import FailpointReached, failpoints_armed

DATA = b"sealed" * 1000
# As root no permission holds us back: then another user has to try.
NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cold"


@pytest.fixture
def store(root: Path) -> FolderStore:
    return FolderStore(root, make=True)


def file_of(root: Path, name: str) -> Path:
    return root / f"{name}.object"


def leftovers(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".incoming").iterdir() if path.name != "lock")


@pytest.mark.parametrize("call", ["create", "replace"])
def test_a_writer_killed_before_the_end_leaves_what_was_there(store: FolderStore, root: Path, call: str):
    """A kill -9 when all bytes are written but have no name yet: old or nothing, and the rest is cleared."""
    if call == "replace":
        store.create("a/b", b"old", {"n": "1"})
    code = (
        "from pathlib import Path; from fntx_sessions.state.objects.folder import FolderStore;"
        f"FolderStore(Path({str(root)!r}), make=True).{call}('a/b', b'new' * 1000, {{}})"
    )
    environment = {**os.environ, "FNTX_FAILPOINTS": "cold_folder.written:kill"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == -9
    assert len(leftovers(root)) == 1
    assert store.read("a/b") == (b"old" if call == "replace" else None)
    assert [info.name for info in store.list("")] == (["a/b"] if call == "replace" else [])
    store.create("another", b"", {})
    assert leftovers(root) == []


def test_what_a_living_writer_is_about_to_name_is_left_alone(store: FolderStore, root: Path):
    """Clearing up after the dead does not touch the file of one who lives: his lock says so."""
    other, seen = FolderStore(root, make=True), list[list[str]]()

    def while_another_writes(*_: object) -> bool:
        other.create("other", b"2", {})
        seen.append(leftovers(root))
        return True

    store._write("mine", b"1", {}, while_another_writes)
    assert [len(names) for names in seen] == [1]
    assert leftovers(root) == []


def test_a_write_that_fails_leaves_nothing(store: FolderStore, root: Path):
    """An error on the way is no leftover either."""
    with failpoints_armed("cold_folder.written:raise"), pytest.raises(FailpointReached):
        store.create("a", DATA, {})
    assert leftovers(root) == []
    assert store.read("a") is None


def test_every_flipped_byte_and_every_cut_of_a_file_is_found(store: FolderStore, root: Path):
    """Header or bytes: what was changed on disk is never returned, and the error names the object."""
    store.create("a", b"sealed bytes", {"n": "1"})
    file = file_of(root, "a")
    whole = file.read_bytes()
    for place in range(len(whole)):
        changed = whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :]
        for bad in (changed, whole[:place]):
            file.write_bytes(bad)
            with pytest.raises(IntegrityError, match="cold object a "):
                store.read("a")
    file.write_bytes(whole + b"x")
    with pytest.raises(IntegrityError, match="longer than the 12 bytes"):
        store.read("a")
    file.write_bytes(b"FXO\x02" + whole[4:])
    with pytest.raises(IntegrityError, match="newer version"):
        store.read("a")


def test_swapped_files_are_found_out(store: FolderStore, root: Path):
    """A file moved under another's name is not taken for it: the header says whose it is."""
    store.create("a", b"a", {})
    store.create("b", b"b", {})
    file_of(root, "a").rename(file_of(root, "b"))
    with pytest.raises(IntegrityError, match=r"cold object b .*its file holds a"):
        store.read("b")
    assert store.read("a") is None


def test_a_damaged_header_hides_nothing(store: FolderStore, root: Path):
    """It is listed without metadata, gives way to a comparison, and can be destroyed."""
    store.create("a", DATA, {"n": "9"})
    file_of(root, "a").write_bytes(b"\x00" * 10)
    assert [(info.name, dict(info.metadata)) for info in store.list("")] == [("a", {})]
    assert store.create("a", b"new", {}) is False
    assert store.replace_if("a", b"new", {"n": "1"}, lambda there: "n" not in there) is True
    assert store.read("a") == b"new"
    assert store.destroy("a") == 1


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_fails_is_said_with_the_way_out(
    store: FolderStore, root: Path, monkeypatch: pytest.MonkeyPatch, error: int
):
    """Full, over quota, read-only, broken: Unavailable; what was there stays, and nothing is left behind."""
    store.create("a", b"old", {})

    def fails(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", fails)
        with pytest.raises(Unavailable) as raised:
            store.replace("a", DATA, {})
    assert os.strerror(error).lower() in str(raised.value)
    assert raised.value.named()["fix"]
    assert store.read("a") == b"old"
    assert leftovers(root) == []


def test_a_full_disk_for_real(tmp_path: Path):
    """/dev/full's error is the one a full disk gives; a limit on the size of files stands in for the disk."""
    code = (
        "import resource, signal, sys; from pathlib import Path;"
        "from fntx_sessions.state.objects.folder import FolderStore;"
        "from fntx_sessions.exceptions import Unavailable;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        f"store = FolderStore(Path({str(tmp_path / 'cold')!r}), make=True); store.create('small', b'x', {{}})\n"
        "try: store.create('large', b'x' * 100_000, {})\n"
        "except Unavailable as error: print(error); sys.exit(store.read('large') is not None)\n"
        "sys.exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, "file too large" in done.stdout) == (0, True), done


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can lend a folder to somebody else")
@pytest.mark.parametrize("closed", ["folder", "file"])
def test_a_folder_of_somebody_elses_says_whom_to_give_it_to(tmp_path: Path, closed: str):
    """Where we may not read or write, it is Unavailable with chown as the fix, never None."""
    store = FolderStore(tmp_path / "cold", make=True)
    store.create("a", DATA, {})
    for above in (tmp_path, *tmp_path.parents[:-1]):
        if not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o001)
    if closed == "file":
        (tmp_path / "cold").chmod(0o777)
    told = []
    pid = os.fork()
    if pid == 0:
        os.setuid(NOBODY)
        try:
            store.read("a")
        except Unavailable as error:
            told.append(str(error))
        os._exit(0 if told and "chown" in told[0] else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_lock_somebody_sits_on_is_not_waited_for_without_end(
    store: FolderStore, root: Path, monkeypatch: pytest.MonkeyPatch
):
    """A process stopped between looking and renaming holds others up for a while, and they say whom to end."""
    store.replace_if("a", b"1", {"n": "1"}, lambda _: True)
    monkeypatch.setattr(folder_tree, "_LOCK_WAIT_S", 0.05)
    with (root / ".incoming" / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match="fuser"):
            store.replace_if("a", b"2", {"n": "2"}, lambda _: True)
    assert store.read("a") == b"1"
    assert leftovers(root) == []


@pytest.mark.parametrize("where", ["directory", "file", "incoming"])
def test_symbolic_links_lead_nowhere(store: FolderStore, root: Path, tmp_path: Path, where: str):
    """A link planted in the folder is neither read through nor written through."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b.object").write_bytes(b"secret")
    store.create("x", b"", {})
    if where == "incoming":
        (root / ".incoming" / "lock").unlink(missing_ok=True)
        (root / ".incoming").rmdir()
        (root / ".incoming").symlink_to(outside)
    elif where == "directory":
        (root / "a").symlink_to(outside)
    else:
        (root / "a").mkdir()
        (root / "a" / "b.object").symlink_to(outside / "b.object")
    if where != "incoming":
        with pytest.raises(Unavailable, match="symbolic link"):
            store.read("a/b")
    if where != "file":
        with pytest.raises(Unavailable, match="symbolic link"):
            store.create("a/b", b"mine", {})
    else:
        store.replace("a/b", b"mine", {})
        assert store.read("a/b") == b"mine"
    assert (outside / "b.object").read_bytes() == b"secret"
    assert [path.name for path in outside.iterdir()] == ["b.object"]


def test_a_pipe_in_the_place_of_a_file_holds_nobody(store: FolderStore, root: Path):
    """Something that is no file is refused at once instead of being waited on."""
    store.create("x", b"", {})
    os.mkfifo(file_of(root, "a"))
    with pytest.raises(IntegrityError, match="something else than a file"):
        store.read("a")


def test_files_are_for_their_owner_alone(store: FolderStore, root: Path):
    """0700 for directories and 0600 for files, whatever the mask of the process."""
    former = os.umask(0)
    try:
        store.create("deep/er/a", DATA, {})
        store.replace_if("deep/er/a", DATA, {}, lambda _: True)
    finally:
        os.umask(former)
    for path in (root, *root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("name", ["", "/a", "a//b", "a/", "x" * 300])
def test_what_cannot_be_a_name_is_refused(store: FolderStore, name: str):
    """An empty or endless part is an error of the caller's, said as one."""
    with pytest.raises(InvalidArgument):
        store.create(name, DATA, {})
