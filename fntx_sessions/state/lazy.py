"""A stored snapshot opened part by part: the manifest first, a large part only when it is asked for."""

from collections.abc import Callable, Collection, Container
from dataclasses import replace

from fntx_sessions.exceptions import NotFound
from fntx_sessions.state.parts import AGENT_PREFIX
from fntx_sessions.state.snapshot import Manifest, Packed, Packer, Snapshot

Fetch = Callable[[Collection[bytes]], dict[bytes, bytes]]


class LazySnapshot:
    """A verified manifest, and parts that are fetched, opened and verified one by one."""

    def __init__(self, packer: Packer, packed: Packed, fetch: Fetch | None = None) -> None:
        """Open the manifest alone; `fetch` gives large parts that `packed` has not got. Raises IntegrityError."""
        self._packer = packer
        self._packed = packed
        self._fetch = fetch
        self.manifest: Manifest = packer.manifest(packed)

    @property
    def sizes(self) -> dict[str, int]:
        """Plain bytes of each part, by name; nothing is opened for it."""
        return {name: entry.size for name, entry in self.manifest.parts.items()}

    def agents(self) -> list[str]:
        """Return the names of the agents that have a part here."""
        return [name.removeprefix(AGENT_PREFIX) for name in self.manifest.parts if name.startswith(AGENT_PREFIX)]

    def part(self, name: str) -> bytes:
        """Return one part, verified; raises NotFound, IntegrityError and Unavailable."""
        if name not in self.manifest.parts:
            raise NotFound("part", name, f"This snapshot has {', '.join(self.manifest.parts) or 'none'}.")
        return self.take([name]).parts[name]

    def take(self, names: Container[str] | None = None) -> Snapshot:
        """Return the snapshot with these of its parts alone (None: all), verified; names it has not got are left out.

        Large parts travel in one question. Raises IntegrityError naming the blob that is wrong or missing, and
        Unavailable.
        """
        entries = {one: entry for one, entry in self.manifest.parts.items() if names is None or one in names}
        wanted = {bytes.fromhex(entry.hash) for entry in entries.values() if entry.hash}
        absent = wanted - self._packed.parts.keys()
        if absent and self._fetch is not None:
            self._packed = replace(self._packed, parts={**self._packed.parts, **self._fetch(absent)})
        return self._packer.take(self._packed, self.manifest, entries)
