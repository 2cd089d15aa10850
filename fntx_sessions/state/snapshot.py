"""The one shape for saves, checkpoints and archives: a manifest of parts.

Small parts ride inside the manifest; a large one is stored once under the keyed hash of its content, and the manifest
names it. `pack` turns a Snapshot into sealed blobs, `unpack` turns them back and verifies every byte.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from sqlalchemy import Engine

from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.settings import Settings
from fntx_sessions.state.codec import Codec, Label
from fntx_sessions.state.data_keys import seal_of
from fntx_sessions.state.parts import AGENT_PREFIX, Known, checked

FORMAT = 1
SAVE, CHECKPOINT, PART = "save", "checkpoint", "part"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A session's state at one moment; parts are JSON bytes by name. checkpoint_id None: the current save.

    Of a live cut also: the marks of its parts, and those that were not read because they were sealed before.
    """

    session_id: UUID
    epoch: int
    revision: int
    created_at: datetime
    parts: Mapping[str, bytes]
    identity: str = ""
    checkpoint_id: UUID | None = None
    marks: Mapping[str, bytes] = field(default_factory=dict)
    unread: Mapping[str, Known] = field(default_factory=dict)

    def agents(self) -> dict[str, bytes]:
        """Return the agents' own parts by agent name."""
        return {
            name.removeprefix(AGENT_PREFIX): data for name, data in self.parts.items() if name.startswith(AGENT_PREFIX)
        }

    @property
    def size(self) -> int:
        """Plain bytes of all parts."""
        return sum(map(len, self.parts.values()))


class Entry(Struct, frozen=True, omit_defaults=True):
    """One part in a manifest: inside it, or the hex name under which it is stored by itself."""

    size: int
    hash: str = ""
    inline: Raw | UnsetType = UNSET


class Manifest(Struct, frozen=True):
    """What a snapshot says of itself."""

    format: int
    session_id: UUID
    kind: str
    epoch: int
    revision: int
    created_at: datetime
    identity: str
    parts: dict[str, Entry]


@dataclass(frozen=True, slots=True)
class Packed:
    """A snapshot as it is stored: sealed manifest, checksum of the plain manifest, sealed large parts by hash.

    known: which live parts the large ones are, where it was packed of a live cut; it is stored nowhere.
    """

    session_id: UUID
    epoch: int
    revision: int
    manifest: bytes
    checksum: bytes
    parts: Mapping[bytes, bytes] = field(default_factory=dict)
    checkpoint_id: UUID | None = None
    known: Mapping[str, Known] = field(default_factory=dict, compare=False, repr=False)

    @property
    def size(self) -> int:
        """Stored bytes, manifest and large parts."""
        return len(self.manifest) + sum(map(len, self.parts.values()))

    @property
    def label(self) -> Label:
        """What its manifest was sealed as."""
        return _label(self.session_id, self.checkpoint_id)


_decoder = msgspec.json.Decoder(Manifest)


class Packer:
    """Packs and unpacks snapshots with one codec and one limit of what rides inline."""

    def __init__(self, codec: Codec, inline_bytes: int, max_part_bytes: int) -> None:
        self._codec = codec
        self._inline_bytes = inline_bytes
        self._max_part_bytes = max_part_bytes

    @classmethod
    def of(cls, settings: Settings, engine: Engine) -> "Packer":
        """Return the packer of the sessions in a database, sealing with their data keys."""
        return cls(Codec(seal_of(settings, engine)), settings.inline_part_bytes, settings.max_part_bytes)

    def pack(self, snapshot: Snapshot, known: Mapping[bytes, bytes] | None = None) -> Packed:
        """Validate and seal a snapshot; raises InvalidArgument naming the first part that must not be kept.

        known: sealed large parts of this session from an earlier pack; those that did not change are taken over
        without validating, compressing and sealing them again. It must hold those that the snapshot left unread.
        """
        sealed = known or {}
        entries = {name: Entry(part.size, part.digest.hex()) for name, part in snapshot.unread.items()}
        large = {part.digest: sealed[part.digest] for part in snapshot.unread.values()}
        entries |= {name: self._entry(snapshot, name, sealed, large) for name in snapshot.parts}
        plain = msgspec.json.encode(_manifest(snapshot, entries))
        label = _label(snapshot.session_id, snapshot.checkpoint_id)
        return Packed(
            snapshot.session_id,
            snapshot.epoch,
            snapshot.revision,
            self._codec.encode(plain, label),
            sha256(plain).digest(),
            large,
            snapshot.checkpoint_id,
            _known(snapshot, entries),
        )

    def unpack(self, packed: Packed) -> Snapshot:
        """Open and verify a stored snapshot; raises IntegrityError naming the blob that is wrong or missing."""
        manifest = self.manifest(packed)
        return self.take(packed, manifest, manifest.parts)

    def take(self, packed: Packed, manifest: Manifest, entries: Mapping[str, Entry]) -> Snapshot:
        """Open and verify these parts of a stored snapshot alone; raises IntegrityError as `unpack` does."""
        return Snapshot(
            manifest.session_id,
            manifest.epoch,
            manifest.revision,
            manifest.created_at,
            {name: self._part(packed, name, entry) for name, entry in entries.items()},
            manifest.identity,
            packed.checkpoint_id,
        )

    def manifest(self, packed: Packed) -> Manifest:
        """Open and verify the manifest alone; raises IntegrityError."""
        plain = self._codec.decode(packed.manifest, packed.label)
        if sha256(plain).digest() != packed.checksum:
            raise IntegrityError(str(packed.label), "manifest is not the one the row's checksum was taken of")
        manifest = _decoder.decode(plain)
        if manifest.format != FORMAT:
            raise IntegrityError(str(packed.label), f"manifest format {manifest.format} is newer than this version")
        if (manifest.epoch, manifest.revision) != (packed.epoch, packed.revision):
            raise IntegrityError(str(packed.label), "epoch and revision differ from those it is stored under")
        return manifest

    def _entry(self, snapshot: Snapshot, name: str, known: Mapping[bytes, bytes], large: dict[bytes, bytes]) -> Entry:
        data = snapshot.parts[name]
        if len(data) <= self._inline_bytes:
            data = checked(name, data, self._max_part_bytes)
            return Entry(len(data), inline=Raw(data))
        digest = self._codec.part_hash(snapshot.session_id, data)
        if digest not in large:
            large[digest] = known.get(digest) or self._sealed(snapshot.session_id, name, data, digest)
        return Entry(len(data), hash=digest.hex())

    def _sealed(self, session_id: UUID, name: str, data: bytes, digest: bytes) -> bytes:
        checked(name, data, self._max_part_bytes)
        return self._codec.encode(data, Label(session_id, PART, digest.hex()))

    def _part(self, packed: Packed, name: str, entry: Entry) -> bytes:
        if not isinstance(entry.inline, UnsetType):
            return bytes(entry.inline)
        digest = bytes.fromhex(entry.hash)
        label = Label(packed.session_id, PART, entry.hash)
        if digest not in packed.parts:
            raise IntegrityError(str(packed.label), f"part {name} ({entry.hash[:12]}) is missing")
        data = self._codec.decode(packed.parts[digest], label)
        if not self._codec.is_named(packed.session_id, data, digest):
            raise IntegrityError(str(label), f"content of {name} is not what its name says")
        return data


def _known(snapshot: Snapshot, entries: Mapping[str, Entry]) -> dict[str, Known]:
    known = dict(snapshot.unread)
    for name, mark in snapshot.marks.items():
        entry = entries.get(name)
        if entry is not None and entry.hash:
            known[name] = Known(mark, entry.size, bytes.fromhex(entry.hash))
    return known


def _label(session_id: UUID, checkpoint_id: UUID | None) -> Label:
    return Label(session_id, CHECKPOINT, str(checkpoint_id)) if checkpoint_id else Label(session_id, SAVE)


def _manifest(snapshot: Snapshot, entries: dict[str, Entry]) -> Manifest:
    kind = CHECKPOINT if snapshot.checkpoint_id else SAVE
    return Manifest(
        FORMAT,
        snapshot.session_id,
        kind,
        snapshot.epoch,
        snapshot.revision,
        snapshot.created_at,
        snapshot.identity,
        entries,
    )
