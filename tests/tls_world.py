"""TLS in front of the run's Postgres and Valkey, whose wheels are built without: certificates, and who ends TLS."""

import asyncio
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Connect = Callable[[], Awaitable[tuple[Reader, Writer]]]
# What a client of Postgres asks before anything else: TLS, or GSSAPI, which is not there.
_TLS, _GSS = 80877103, 80877104


@dataclass(frozen=True)
class Authority:
    """A certificate authority of a test's own."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    @classmethod
    def at(cls, folder: Path) -> "Authority":
        folder.mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        made = cls(folder, key, _signed("test authority", key.public_key(), "test authority", key, None))
        made.file.write_bytes(made.certificate.public_bytes(serialization.Encoding.PEM))
        return made

    def context(self, *names: str) -> ssl.SSLContext:
        """Return what a server needs that is known by `names`."""
        key = ec.generate_private_key(ec.SECP256R1())
        found = _signed("server", key.public_key(), "test authority", self.key, names)
        both = self.folder / f"{names[0]}.pem"
        plain = serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        both.write_bytes(found.public_bytes(serialization.Encoding.PEM) + pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        return context


def _signed(
    name: str, key: ec.EllipticCurvePublicKey, by: str, with_key: ec.EllipticCurvePrivateKey, names: tuple | None
) -> x509.Certificate:
    def named(value: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, value)])

    now = datetime.now(UTC)
    made = x509.CertificateBuilder(named(by), named(name), key, x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    made = made.add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
    if names is not None:
        known = [x509.IPAddress(ip_address(one)) if one[0].isdigit() else x509.DNSName(one) for one in names]
        made = made.add_extension(x509.SubjectAlternativeName(known), critical=False)
    return made.sign(with_key, hashes.SHA256())


@contextmanager
def tls_before(connect: Connect, context: ssl.SSLContext, *, postgres: bool = False) -> Iterator[int]:
    """Take TLS connections on a port of loopback and pass on what they say; yield the port."""
    loop = asyncio.new_event_loop()

    async def take(reader: Reader, writer: Writer) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
                if postgres:
                    await _until_tls(reader, writer, context)
                await _joined(reader, writer, *await connect())
        finally:
            writer.transport.abort()

    serving = asyncio.start_server(take, "127.0.0.1", 0, ssl=None if postgres else context)
    server = loop.run_until_complete(serving)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(_ended(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _until_tls(reader: Reader, writer: Writer, context: ssl.SSLContext) -> None:
    """Answer as a Postgres that insists on TLS does; who begins without it is cut off."""
    while True:
        _, asked = struct.unpack("!ii", await reader.readexactly(8))
        if asked == _TLS:
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(context)
            return
        if asked != _GSS:
            raise ConnectionAbortedError
        writer.write(b"N")


async def _joined(reader: Reader, writer: Writer, inner_reader: Reader, inner_writer: Writer) -> None:
    await asyncio.gather(_pumped(reader, inner_writer), _pumped(inner_reader, writer))


async def _pumped(reader: Reader, writer: Writer) -> None:
    try:
        with suppress(OSError, ssl.SSLError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
    finally:
        with suppress(Exception):
            writer.close()


async def _ended(server: asyncio.Server) -> None:
    server.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for _ in range(5):  # what is closed is let go of in the loop's next turns
        await asyncio.sleep(0)
