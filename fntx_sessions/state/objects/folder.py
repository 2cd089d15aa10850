"""A cold store in a folder: one file an object, header and bytes together, so that a kill leaves all of it or nothing.

::

    ROOT/sessions/<id>/save.object     the object sessions/<id>/save
    ROOT/.incoming/                    files not finished; each is locked by its writer for as long as that lives.
                                       It stays: a folder with neither it nor an object was never written to

A file is written in `.incoming`, forced to disk, and then takes its name in one step: by a link where the name must be
free, by a rename where it replaces another. Every directory is opened from the one above it and no symbolic link is
followed, so that whoever may write into the folder cannot send us elsewhere.
"""

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.state.objects import folder_file
from fntx_sessions.state.objects.base import ObjectInfo
from fntx_sessions.state.objects.folder_names import SUFFIX, name_of, path_of
from fntx_sessions.state.objects.folder_tree import (
    directory,
    folder_errors,
    incoming,
    locked,
    must_be_the_same,
    opened_root,
    remove_empty,
)
from fntx_sessions.state.objects.probe import probe
from fntx_sessions.testing import failpoint

# Not blocking: a named pipe in the way must not hold us.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# How often a directory may be removed, being empty, between our opening it and writing into it.
_RACES = 5

_T = TypeVar("_T")
_Place = Callable[[int, str, int, str], bool]


class FolderStore:
    """Objects as files under one folder, readable by this user alone; safe for many processes and threads."""

    name = "folder"

    def __init__(self, root: Path, *, make: bool, used: Path | None = None) -> None:
        """Take the folder; make: whether it is made when it is missing. Else that is Unavailable: a lost mount.

        used: the file, elsewhere, that is made once something was written here. Where it is and the folder looks as if
        nothing ever was, the folder is not the one it was: Unavailable, and nothing is written.
        """
        self._root = root
        self._make = make
        self._used = used

    def __str__(self) -> str:
        """Return where it lies."""
        return f"folder {self._root}"

    @property
    def address(self) -> str:
        """The FNTX_COLD_URL that names this folder."""
        return self._root.resolve().as_uri()

    def create(self, name: str, data: bytes, metadata: Mapping[str, str]) -> bool:
        """Write an object that is not there yet; False: one of that name is there, and stays as it is."""
        return self._write(name, data, metadata, _link)

    def replace(self, name: str, data: bytes, metadata: Mapping[str, str]) -> None:
        """Write an object in place of whatever has that name, in one step."""
        self._write(name, data, metadata, _rename)

    def replace_if(
        self, name: str, data: bytes, metadata: Mapping[str, str], over: Callable[[Mapping[str, str]], bool]
    ) -> bool:
        """Write an object where none is, or where `over` says yes to the metadata of the one that is there."""

        def place(folder: int, temporary: str, target: int, file: str) -> bool:
            with locked(folder):
                known = _known(target, file, name)
                return (known is None or over(known.metadata)) and _rename(folder, temporary, target, file)

        return self._write(name, data, metadata, place)

    def read(self, name: str) -> bytes | None:
        """Return an object's bytes, compared with its checksum; None: there is none. Raises IntegrityError."""
        return self._look(name, folder_file.read)

    def info(self, name: str) -> ObjectInfo | None:
        """Return what is known of an object without reading it; None: there is none. Raises IntegrityError."""
        return self._look(name, folder_file.read_info)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects whose name begins with `prefix`, by name; one with a damaged header has no metadata."""
        above = prefix.rpartition("/")[0]
        for name in self._names(above + "/" if above else "", prefix):
            info = self._look(name, _told)
            if info is not None:
                yield info

    def destroy(self, name: str) -> int:
        """Delete an object; return 1, or 0 when there was none."""
        directories, file = path_of(name)
        with folder_errors(self._root), suppress(FileNotFoundError), self._opened() as root:
            with directory(root, directories) as folder:
                os.unlink(file, dir_fd=folder)
                os.fsync(folder)
            remove_empty(root, directories)
            return 1
        return 0

    def check(self) -> None:
        """Return when objects can be written and read here; raises Unavailable that says what is missing."""
        probe(self)

    def _write(self, name: str, data: bytes, metadata: Mapping[str, str], place: _Place) -> bool:
        header = folder_file.header(name, data, metadata)
        directories, file = path_of(name)
        with folder_errors(self._root), self._opened(make=True) as root, incoming(root) as (folder, temporary, opened):
            for chunk in (header, data):
                _write_all(opened, chunk)
            os.fsync(opened)
            failpoint("cold_folder.written")
            self._note_used()
            return _placed(root, directories, lambda target: place(folder, temporary, target, file))

    def _look(self, name: str, look: Callable[[int, str], _T]) -> _T | None:
        directories, file = path_of(name)
        with (
            folder_errors(self._root),
            suppress(FileNotFoundError),
            self._opened() as root,
            directory(root, directories) as folder,
            _file(folder, file) as descriptor,
        ):
            return look(descriptor, name)
        return None

    def _names(self, above: str, prefix: str) -> Iterator[str]:
        """Yield the names of files under the directory `above` (empty, or ending in /) in the order of names."""
        for entry in self._entries(above):
            name = above + name_of(entry)
            if entry.endswith(SUFFIX) and name.startswith(prefix):
                yield name
            elif not entry.endswith(SUFFIX) and (name + "/").startswith(prefix[: len(name) + 1]):
                yield from self._names(name + "/", prefix)

    def _entries(self, above: str) -> Sequence[str]:
        directories = path_of(above + "_")[0]
        with (
            folder_errors(self._root),
            suppress(FileNotFoundError),
            self._opened() as root,
            directory(root, directories) as folder,
            os.scandir(folder) as entries,
        ):
            return sorted((entry.name for entry in entries if not entry.name.startswith(".")), key=_order)
        return ()

    def _opened(self, *, make: bool = False) -> AbstractContextManager[int]:
        if self._used is not None:
            must_be_the_same(self._root, self._used)
        return opened_root(self._root, make=make, ours=self._make)

    def _note_used(self) -> None:
        # Where nobody may note it, another host's note, or none, has to do.
        if self._used is not None and not self._used.exists():
            with suppress(OSError):
                self._used.touch(mode=0o600)


def _placed(root: int, directories: Sequence[str], place: Callable[[int], bool]) -> bool:
    for _ in range(_RACES):
        with suppress(FileNotFoundError), directory(root, directories, make=True) as target:
            done = place(target)
            os.fsync(target)
            return done
    raise FileNotFoundError(errno.ENOENT, "its directories vanish as fast as they are made")


@contextmanager
def _file(folder: int, file: str) -> Iterator[int]:
    descriptor = os.open(file, _FILE, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _known(folder: int, file: str, name: str) -> ObjectInfo | None:
    with suppress(FileNotFoundError), _file(folder, file) as descriptor:
        return _told(descriptor, name)
    return None


def _link(folder: int, temporary: str, target: int, file: str) -> bool:
    try:
        os.link(temporary, file, src_dir_fd=folder, dst_dir_fd=target, follow_symlinks=False)
    except FileExistsError:
        return False
    return True


def _rename(folder: int, temporary: str, target: int, file: str) -> bool:
    os.replace(temporary, file, src_dir_fd=folder, dst_dir_fd=target)
    return True


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _told(descriptor: int, name: str) -> ObjectInfo:
    try:
        return folder_file.read_info(descriptor, name)
    except IntegrityError:
        return folder_file.damaged_info(descriptor, name)


def _order(entry: str) -> str:
    name = name_of(entry)
    return name if entry.endswith(SUFFIX) else name + "/"
