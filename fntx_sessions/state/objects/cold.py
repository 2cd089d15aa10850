"""The cold store of this installation: the bucket or folder `FNTX_COLD_URL` names, else `cold` of the data folder."""

import os
import re
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.settings import Settings
from fntx_sessions.state.objects.base import ObjectStore
from fntx_sessions.state.objects.folder import FolderStore
from fntx_sessions.state.objects.waits import Waits

_FIX = "Write gs://bucket/prefix or file:///folder, or unset it: then it is `cold` of the data folder."
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


def open_cold(settings: Settings, emulator: str | None = None) -> ObjectStore:
    """Return the cold store `settings` name, without asking it anything yet.

    emulator: another server of buckets than STORAGE_EMULATOR_HOST names.
    Raises InvalidArgument when `cold_url` is no address of a bucket or folder.
    """
    waits = Waits(settings.cold_timeout_s, settings.cold_retry_s, settings.cold_resumable_bytes)
    return _open(settings.cold_url, settings.home, waits, emulator or os.environ.get("STORAGE_EMULATOR_HOST"))


def cold_address(url: str | None, home: Path) -> str:
    """Return the address of what `url` names; None: the folder at home."""
    return url or (home / "cold").resolve().as_uri()


@lru_cache(maxsize=8)
def _open(url: str | None, home: Path, waits: Waits, emulator: str | None) -> ObjectStore:
    if url is None:
        return _own(home / "cold", home, make=True)
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise _bad(url, "has a ? or # in it")
    if parts.scheme == "gs":
        return _bucket(url, parts.netloc, parts.path, waits, emulator)
    if parts.scheme == "file":
        return _folder(url, parts.netloc, unquote(parts.path), home)
    raise _bad(url, "begins with neither gs:// nor file://")


# A forked child must not speak on its parent's sockets.
os.register_at_fork(after_in_child=_open.cache_clear)


def _bucket(url: str, bucket: str, path: str, waits: Waits, emulator: str | None) -> ObjectStore:
    from fntx_sessions.state.objects.gcs import GcsStore  # noqa: PLC0415 - Google's library takes long to import

    if not _BUCKET.fullmatch(bucket):
        raise _bad(url, f"{bucket!r} cannot be the name of a bucket")
    prefix = path.strip("/")
    if any(part in {"", ".", ".."} for part in prefix.split("/")) and prefix:
        raise _bad(url, f"{path!r} cannot be a prefix")
    return GcsStore(bucket, prefix, waits, emulator)


def _folder(url: str, host: str, path: str, home: Path) -> FolderStore:
    if host not in {"", "localhost"}:
        raise _bad(url, f"names the host {host!r}; a folder of this machine has three slashes, file:///")
    if not path.startswith("/") or path.strip("/") == "" or "\x00" in path:
        raise _bad(url, "names no folder")
    return _own(Path(path), home, make=url == cold_address(None, home))


def _own(root: Path, home: Path, *, make: bool) -> FolderStore:
    """Return a folder whose use is noted at home: a disk that is not mounted is no empty store."""
    return FolderStore(
        root, make=make, used=home / f"cold-{sha256(os.fsencode(root.absolute())).hexdigest()[:12]}.used"
    )


def _bad(url: str, problem: str) -> InvalidArgument:
    return InvalidArgument("FNTX_COLD_URL", f"{url!r} {problem}", _FIX)
