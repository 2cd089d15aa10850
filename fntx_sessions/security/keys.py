"""Where the keys are. Whoever can read a private one can command every session.

::

    HOME/keys/            0700
      signing.pem         0600  signs the tokens of people and services
      public.pem          0600  what verifies those; holds several keys while one is changed for another
      system.pem          0600  signs what workers and beat ask for themselves, and nothing else
      system-public.pem   0600  what verifies that
      admin.token         0600  the local administrator's token, see `local`
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from fntx_sessions.exceptions import StackError
from fntx_sessions.security.key_files import (
    PublicKey,
    key_id,
    load_private_key,
    load_public_keys,
    new_private_pem,
    public_pem,
)
from fntx_sessions.security.private_files import create_private, write_private
from fntx_sessions.settings import Settings


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Two files: the key that signs, and the keys that verify."""

    private: Path
    public: Path

    @property
    def staged(self) -> Path:
        """Where the next private key waits until every host has its public one."""
        return self.private.with_name(f"{self.private.stem}-next.pem")


@dataclass(frozen=True)
class LocalKeys:
    """Where one home keeps its keys."""

    directory: Path

    @staticmethod
    def of(home: Path) -> "LocalKeys":
        """Return the paths under `home`; nothing is created."""
        return LocalKeys(home / "keys")

    @property
    def signing(self) -> KeyPair:
        """What signs for people and services."""
        return KeyPair(self.signing_file, self.public_file)

    @property
    def system(self) -> KeyPair:
        """What signs for workers and beat."""
        return KeyPair(self.directory / "system.pem", self.directory / "system-public.pem")

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


def ensure_key_pairs(home: Path) -> LocalKeys:
    """Make the key pairs that `home` lacks; two processes at once agree on the same.

    Raises StackError when the folder or a file in it is not usable, or a private key is open to other users.
    """
    keys = LocalKeys.of(home)
    try:
        keys.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys.directory.chmod(0o700)
        for pair in (keys.signing, keys.system):
            ensure_pair(pair)
    except OSError as error:
        raise StackError(f"cannot keep keys in {keys.directory}: {error.strerror}", "Set FNTX_HOME.") from error
    return keys


def ensure_pair(pair: KeyPair) -> None:
    """Make a key where there is none, and see to it that its public file holds it; raises StackError and OSError."""
    if not pair.private.exists() and not pair.private.is_symlink():
        create_private(pair.private, new_private_pem())
    key = load_private_key(pair.private).public_key()
    known = load_public_keys(pair.public) if pair.public.exists() else {}
    if key_id(key) not in known:
        write_private(pair.public, public_pem([*known.values(), PublicKey(key, made_at=now())]))


def signing_pair(settings: Settings) -> KeyPair:
    """Return where this process's keys of people and services would be; they need not exist."""
    return _pair(settings.home, settings.token_private_key_file, settings.token_public_key_file, of_system=False)


def system_pair(settings: Settings) -> KeyPair:
    """Return where this process's keys of the system would be; they need not exist."""
    return _pair(settings.home, settings.system_private_key_file, settings.system_public_key_file, of_system=True)


@lru_cache(maxsize=64)
def _pair(home: Path, private: Path | None, public: Path | None, *, of_system: bool) -> KeyPair:
    local = LocalKeys.of(home).system if of_system else LocalKeys.of(home).signing
    return KeyPair(private or local.private, public or local.public)


def now() -> datetime:
    """Return the moment as key files note it: by the second."""
    return datetime.now(UTC).replace(microsecond=0)
