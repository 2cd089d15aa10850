"""Changing the keys that sign, while the desk runs: a new one is known everywhere before it signs anything.

A key is staged (it verifies and signs nothing yet), current, or retired (it signs no more, and still verifies what it
signed). Once every token of a retired key has ended it is taken out; a leaked one at once.
"""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from fntx_sessions.exceptions import InvalidArgument, StackError
from fntx_sessions.security.key_files import (
    PublicKey,
    key_id,
    load_private_key,
    load_public_keys,
    new_private_pem,
    public_pem,
)
from fntx_sessions.security.keys import KeyPair, now
from fntx_sessions.security.private_files import create_private, write_private

State = Literal["current", "staged", "retired"]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key of a pair of files. made_at, retired_at: None where its file does not say."""

    key_id: str
    state: State
    made_at: datetime | None
    retired_at: datetime | None


def list_keys(pair: KeyPair) -> list[SigningKey]:
    """Return the keys that verify, in the order of their file; raises StackError."""
    with _readable(pair):
        current, staged = _private_id(pair), _staged_id(pair)
        found = load_public_keys(pair.public).values()
        return [SigningKey(one.key_id, _state(one, current, staged), one.made_at, one.retired_at) for one in found]


def stage(pair: KeyPair) -> str:
    """Make the next key, and have it verify; return its id. Asked again, it is the same. Raises StackError."""
    with _changing(pair):
        return _staged(pair)


def rotate(pair: KeyPair) -> str:
    """Have the staged key sign from now on, a fresh one where none is; return its id. Raises StackError.

    Killed anywhere, every token of either key verifies, and it is run again. A key file that is half-written, or open
    to others, is changed all the same.
    """
    with _changing(pair, sound=False):
        following = _staged(pair)
        pair.staged.replace(pair.private)
        _write(pair, load_public_keys(pair.public).values())
        return following


def retire(
    pair: KeyPair, given: str, longest_s: float, *, at_once: bool = False, look: Callable[[str], None] | None = None
) -> None:
    """Take a key out: what it signed is refused from now on. longest_s: the longest life of a token of its.

    Raises InvalidArgument for a key that is not there, for the current one, and, unless `at_once`, for one whose tokens
    may be good still, and what `look`, asked last about a key that has signed, raises; StackError where a file cannot
    be written.
    """
    with _changing(pair):
        known = load_public_keys(pair.public)
        if given not in known:
            raise InvalidArgument("key", f"{given!r} is not in {pair.public}", f"It holds {', '.join(known)}.")
        if given == _private_id(pair):
            raise InvalidArgument("key", f"{given} is the one that signs", "Run `fntx signing-keys rotate` first.")
        staged = given == _staged_id(pair)
        if not staged and not at_once:
            _must_be_over(known[given], longest_s)
            if look is not None:
                look(given)
        _write(pair, [one for one in known.values() if one.key_id != given])
        if staged:
            pair.staged.unlink()


def _must_be_over(key: PublicKey, longest_s: float) -> None:
    over_at = None if key.retired_at is None else key.retired_at + timedelta(seconds=longest_s)
    if over_at is None or over_at > now():
        until = f"until {over_at:%Y-%m-%d %H:%M} UTC" if over_at else "for how long is not known"
        problem = f"tokens that {key.key_id} signed may be good still ({until})"
        raise InvalidArgument("key", problem, "Wait, or end them all now with --now.")


def _staged(pair: KeyPair) -> str:
    """Return the id of the next key, which is made and verifies once this returns."""
    if not pair.staged.exists():
        create_private(pair.staged, new_private_pem())
    key = load_private_key(pair.staged).public_key()
    known = load_public_keys(pair.public)
    if key_id(key) not in known:
        _write(pair, [*known.values(), PublicKey(key, made_at=now())])
    return key_id(key)


def _write(pair: KeyPair, found: Iterable[PublicKey]) -> None:
    """Write the public file; a key that signs no more gets its moment if it has none, as does one that is lost."""
    current, staged = _usable_id(pair), _staged_id(pair)
    write_private(pair.public, public_pem(_dated(one, current, staged) for one in found))


def _dated(key: PublicKey, current: str | None, staged: str | None) -> PublicKey:
    if _state(key, current, staged) != "retired":
        return replace(key, retired_at=None)
    return replace(key, retired_at=key.retired_at or now())


def _state(key: PublicKey, current: str | None, staged: str | None) -> State:
    return "current" if key.key_id == current else "staged" if key.key_id == staged else "retired"


def _private_id(pair: KeyPair) -> str:
    return key_id(load_private_key(pair.private).public_key())


def _usable_id(pair: KeyPair) -> str | None:
    """Return the id of the key that signs; None: it is gone, or its file is none that may sign."""
    try:
        return _private_id(pair)
    except (FileNotFoundError, StackError):
        return None


def _staged_id(pair: KeyPair) -> str | None:
    return key_id(load_private_key(pair.staged).public_key()) if pair.staged.exists() else None


@contextmanager
def _readable(pair: KeyPair) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = f"the keys in {pair.private.parent} cannot be used: {error.strerror}: {error.filename}"
        raise StackError(problem, "Run this where the keys are, as their user; `fntx up` makes them.") from error


@contextmanager
def _changing(pair: KeyPair, *, sound: bool = True) -> Iterator[None]:
    """Keep others of this machine from changing the pair, which is here, and `sound`."""
    with _readable(pair):
        if sound:
            load_private_key(pair.private)
        pair.private.lstat()
        handle = os.open(pair.private.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
