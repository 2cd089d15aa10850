"""Secrets planted in a desk, and a search for them in whatever it keeps or shows, however they were encoded there."""

import base64
import json
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg2
import redis
from sqlalchemy import make_url

_PIECE = 1 << 24
_TABLES = """
SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'm') AND relnamespace = 'public'::regnamespace
"""


@dataclass
class Canaries:
    """What must not be found, by name; `found`: where it was, as ``place: name``."""

    secrets: dict[str, bytes] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    searched: dict[str, int] = field(default_factory=dict)

    def plant(self, name: str, secret: str | bytes) -> str:
        data = secret.encode() if isinstance(secret, str) else secret
        assert len(data) >= 12, f"{name} is too short to be told from chance"
        self.secrets[name] = data
        return data.decode(errors="replace")

    def search(self, place: str, data: bytes | str, *, may_hold: Iterable[str] = ()) -> None:
        """Look for all but what `may_hold` names."""
        blob = data if isinstance(data, bytes) else data.encode(errors="replace")
        kind = place.split(" ", 1)[0]
        self.searched[kind] = self.searched.get(kind, 0) + len(blob)
        for name, forms in self._forms().items():
            if name not in may_hold and any(form in blob for form in forms):
                self.found.append(f"{place}: {name}")

    def seen(self) -> list[str]:
        """Return where any was found since this was asked last."""
        found, self.found = self.found, []
        return found

    def _forms(self) -> dict[str, set[bytes]]:
        if not hasattr(self, "_made") or len(self._made) != len(self.secrets):
            self._made = {name: forms_of(secret) for name, secret in self.secrets.items()}
        return self._made


def forms_of(secret: bytes) -> set[bytes]:
    """Return a secret as it is, hex, base64 at each of three places, URL-quoted, and as JSON and repr have it."""
    text = secret.decode(errors="surrogateescape")
    forms = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for before in range(3):
        # The characters at both ends hang on what stands beside it.
        middle = base64.b64encode(b"\0" * before + secret)[(0, 2, 3)[before] : (len(secret) + before) // 3 * 4]
        forms |= {middle, middle.replace(b"+", b"-").replace(b"/", b"_")}
    if secret.isascii():
        forms |= {urllib.parse.quote(text).encode(), json.dumps(text)[1:-1].encode(), repr(text)[1:-1].encode()}
    return {form for form in forms if len(form) >= 12}


def search_postgres(canaries: Canaries, url: str, **known: Iterable[str]) -> None:
    """Search every row of every table, bytea as hex; url: of who may read them all."""
    made = make_url(url)
    connection = psycopg2.connect(
        host=made.query.get("host") or made.host, port=made.query.get("port") or made.port, user=made.username,
        password=made.password, dbname=made.database,
    )  # fmt: skip
    try:
        with connection.cursor() as cursor:
            cursor.execute(_TABLES)
            for (table,) in cursor.fetchall():
                cursor.execute(f"SELECT t::text FROM {table} t")
                canaries.search(f"table {table}", "\n".join(row[0] for row in cursor), **known)
    finally:
        connection.close()


def search_redis(canaries: Canaries, url: str, may_hold: Mapping[str, Iterable[str]]) -> None:
    """Search every key and value; may_hold: by the type of a key, what may lie there."""
    client = redis.Redis.from_url(url)
    readers = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda name: client.lrange(name, 0, -1),
        b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1),
        b"stream": client.xrange,
    }
    for name in list(client.scan_iter(count=1000)):
        kind = client.type(name)
        if kind in readers:
            data = _flat((name, readers[kind](name)))
            queue = kind == b"list" or name.startswith(b"unacked")
            canaries.search(f"redis {name.decode()}", data, may_hold=may_hold["messages"] if queue else ())
    client.close()


def _flat(value: object) -> bytes:
    """Return all bytes of an answer, one after the other."""
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
    if isinstance(value, list | tuple | set):
        return b"\n".join(_flat(part) for part in value)
    return value if isinstance(value, bytes) else str(value).encode()


def search_files(canaries: Canaries, folder: Path, may_hold: Mapping[str, Iterable[str]]) -> None:
    """Search every file below a folder; may_hold: what may stand in files whose path begins so."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        name = path.relative_to(folder).as_posix()
        allowed = next((names for start, names in may_hold.items() if name.startswith(start)), ())
        for piece in _pieces(path):
            canaries.search(f"file {name}", piece, may_hold=allowed)


def _pieces(path: Path) -> Iterable[bytes]:
    """Yield a file's bytes in overlapping pieces; one that is gone meanwhile has none."""
    try:
        with path.open("rb") as file:
            kept = b""
            while piece := file.read(_PIECE):
                yield kept + piece
                kept = piece[-4096:]
    except FileNotFoundError:
        return


def search_processes(canaries: Canaries, processes: Iterable[psutil.Process], may_hold: Iterable[str]) -> None:
    """Search their command lines, where nothing may stand, and their environments, where `may_hold` may."""
    for process in processes:
        try:
            canaries.search(f"argv {process.name()}", "\0".join(process.cmdline()))
            environment = "\0".join(f"{name}={value}" for name, value in process.environ().items())
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        canaries.search(f"environ {process.name()}", environment, may_hold=may_hold)
