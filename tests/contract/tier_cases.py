"""What the contract of tiers is tried with: each tier over its real store, and snapshots of any shape."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from uuid import UUID, uuid4

from gcs_server import GcsServer, free_port
from state_world import make_world

from fntx_sessions.database.engine import build_engine
from fntx_sessions.settings import Settings
from fntx_sessions.state.objects.folder import FolderStore
from fntx_sessions.state.objects.gcs import GcsStore
from fntx_sessions.state.objects.waits import Waits
from fntx_sessions.state.redis_client import build_redis
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.state.tiers.base import Tier
from fntx_sessions.state.tiers.cold import ColdTier
from fntx_sessions.state.tiers.memory import MemoryTier
from fntx_sessions.state.tiers.postgres import PostgresTier
from fntx_sessions.state.tiers.redis import HotTier

TIERS = ("memory", "redis", "postgres", "gcs", "folder")
HURRIED = Waits(timeout_s=1.0, retry_s=0.0)


class Case:
    """One tier, and sessions it may hold snapshots of."""

    def __init__(self, tier: Tier, new_session: Callable[[], UUID] = uuid4) -> None:
        self.tier = tier
        self.new_session = new_session


def memory_case() -> Case:
    """Return a tier in this process."""
    return Case(MemoryTier(64_000_000))


@contextmanager
def redis_case(url: str) -> Iterator[Case]:
    """Yield a tier in Redis."""
    with build_redis(url, Settings()) as client:
        yield Case(HotTier(client, 3600))


@contextmanager
def postgres_case(settings: Settings) -> Iterator[Case]:
    """Yield a tier in Postgres."""
    with make_world(settings) as world:
        yield Case(PostgresTier(world.engine), lambda: world.sessions(1, live=False)[0])


def gcs_case(server: GcsServer) -> Case:
    """Return a tier in a bucket of its own."""
    return Case(ColdTier(server.store()))


def folder_case(root: Path) -> Case:
    """Return a tier in a folder."""
    return Case(ColdTier(FolderStore(root, make=True)))


@contextmanager
def tier_over_nothing(kind: str, tmp_path: Path) -> Iterator[Tier]:
    """Yield a tier whose store nobody runs."""
    settings = Settings(redis_connect_timeout_s=1, db_connect_timeout_s=1)
    if kind == "redis":
        with build_redis(f"redis://127.0.0.1:{free_port()}/0", settings) as client:
            yield HotTier(client, 3600)
    elif kind == "postgres":
        engine = build_engine(f"postgresql+psycopg2://nobody@127.0.0.1:{free_port()}/nothing", settings)
        yield PostgresTier(engine)
        engine.dispose()
    elif kind == "gcs":
        yield ColdTier(GcsStore("nowhere", "", HURRIED, f"http://127.0.0.1:{free_port()}"))
    else:
        yield ColdTier(FolderStore(tmp_path / "not mounted", make=False))


def save(session_id: UUID, revision: int = 1, parts: tuple[int, ...] = (), epoch: int = 1) -> Packed:
    """Return a save of random bytes whose large parts have these sizes."""
    return _packed(session_id, epoch, revision, parts, None)


def checkpoint(session_id: UUID, revision: int = 1, parts: tuple[int, ...] = (), epoch: int = 1) -> Packed:
    """Return a new checkpoint of random bytes whose large parts have these sizes."""
    return _packed(session_id, epoch, revision, parts, uuid4())


def _packed(session_id: UUID, epoch: int, revision: int, sizes: tuple[int, ...], checkpoint_id: UUID | None) -> Packed:
    parts = {sha256(data).digest(): data for data in map(os.urandom, sizes)}
    return Packed(session_id, epoch, revision, os.urandom(300), os.urandom(32), parts, checkpoint_id)
