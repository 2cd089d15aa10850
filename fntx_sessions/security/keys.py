"""Ed25519 key files: made once, read with care. Whoever can read the private one can command every session.

::

    HOME/keys/          0700
      signing.pem       0600  the private key: workers and beat sign the system's own tasks with it
      public.pem              what verifies a token; may hold several keys, so that keys can be changed without a gap
      admin.token       0600  the local administrator's token, see `local`
"""

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from fntx_sessions.exceptions import StackError
from fntx_sessions.pasting import pasted
from fntx_sessions.settings import Settings

_PEM_END = b"-----END PUBLIC KEY-----"


@dataclass(frozen=True)
class LocalKeys:
    """Where one home keeps its keys."""

    directory: Path

    @staticmethod
    def of(home: Path) -> "LocalKeys":
        """Return the paths under `home`; nothing is created."""
        return LocalKeys(home / "keys")

    @property
    def signing_file(self) -> Path:
        """The private key."""
        return self.directory / "signing.pem"

    @property
    def public_file(self) -> Path:
        """The public keys."""
        return self.directory / "public.pem"

    @property
    def admin_token_file(self) -> Path:
        """The local administrator's token."""
        return self.directory / "admin.token"


def ensure_key_pair(home: Path) -> LocalKeys:
    """Make the key pair of `home` where there is none; two processes at once agree on one pair.

    Raises StackError when the folder or a file in it is not usable, or the private key is open to other users.
    """
    keys = LocalKeys.of(home)
    try:
        keys.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys.directory.chmod(0o700)
        if not keys.signing_file.exists():
            create_private(keys.signing_file, _new_private_pem())
        public_pem = _public_pem(load_private_key(keys.signing_file))
        if not keys.public_file.exists() or public_pem not in keys.public_file.read_bytes():
            write_private(keys.public_file, public_pem)
    except OSError as error:
        raise StackError(f"cannot keep keys in {keys.directory}: {error.strerror}", "Set FNTX_HOME.") from error
    return keys


def private_key_file(settings: Settings) -> Path:
    """Return where this process's private key would be; it need not exist."""
    return settings.token_private_key_file or LocalKeys.of(settings.home).signing_file


def public_key_file(settings: Settings) -> Path:
    """Return where this process's public keys would be; it need not exist."""
    return settings.token_public_key_file or LocalKeys.of(settings.home).public_file


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key. Raises StackError when other users may read it or it is no Ed25519 key; OSError as is."""
    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise StackError(f"the private key {path} is open to other users", f"Run: {pasted('chmod', 600, path)}")
        pem = file.read()
    with suppress(ValueError, TypeError):
        key = load_pem_private_key(pem, password=None)
        if isinstance(key, Ed25519PrivateKey):
            return key
    raise StackError(f"{path} holds no Ed25519 private key", "Delete it and run `fntx up`, or point to another file.")


def load_public_keys(path: Path) -> dict[str, Ed25519PublicKey]:
    """Return the keys of a public file by key id; a changed file is read again. Raises StackError, or OSError as is."""
    return _public_keys(path, file_version(path))


def file_version(path: Path) -> tuple[int, int, int]:
    """Return what differs once a file was replaced or written; raises OSError when there is none."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def key_id(key: Ed25519PublicKey) -> str:
    """Return the name of a key: 16 hex digits of the sha256 of its raw bytes."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


@lru_cache(maxsize=8)
def _public_keys(path: Path, _version: tuple[int, int, int]) -> dict[str, Ed25519PublicKey]:
    keys = {}
    for block in path.read_bytes().split(_PEM_END)[:-1]:
        with suppress(ValueError, TypeError):
            key = load_pem_public_key(block.lstrip() + _PEM_END + b"\n")
            if isinstance(key, Ed25519PublicKey):
                keys[key_id(key)] = key
    if not keys:
        raise StackError(f"{path} holds no Ed25519 public key", "Point FNTX_TOKEN_PUBLIC_KEY_FILE to a PEM file.")
    return keys


def _new_private_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def write_private(path: Path, content: bytes) -> None:
    """Write a file under mode 0600 so that readers see the old or the new whole."""
    temporary = _temporary(path, content)
    try:
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def create_private(path: Path, content: bytes) -> None:
    """Write a file under mode 0600 unless its name is taken."""
    # A hard link fails where the name exists: of two processes that start at once, one key wins and both use it.
    temporary = _temporary(path, content)
    try:
        with suppress(FileExistsError):
            path.hardlink_to(temporary)
    finally:
        temporary.unlink()


def _temporary(path: Path, content: bytes) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)
