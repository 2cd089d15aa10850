"""Celery's messages signed: worker, manager and beat agree; who has no certificate of the folder is not heard."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from forged_messages import envelope
from running_desk import RunningDesk, quiet_desk, run
from worker_process import raw_app, wait_until

from fntx_sessions.exceptions import InvalidArgument, StackError
from fntx_sessions.security.message_signing import serializer
from fntx_sessions.settings import Settings

__all__ = ["quiet_desk"]
pytestmark = pytest.mark.timeout(120)


def make_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Write an RSA key and a certificate of its own, good for an hour."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1)).sign(key, hashes.SHA256())
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    written = folder / f"{name}.key", folder / f"{name}.pem"
    written[0].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    written[0].chmod(0o600)
    written[1].write_bytes(certificate.public_bytes(Encoding.PEM))
    return written


@pytest.fixture(scope="module")
def keys(quiet_desk: RunningDesk) -> dict[str, Path]:
    folder = quiet_desk.folder / "certificates"
    key, certificate = make_pair(folder, "desk")
    return {"message_key_file": key, "message_cert_file": certificate, "message_certs_dir": folder}


@pytest.fixture(scope="module")
def signing_desk(quiet_desk: RunningDesk, keys: dict[str, Path]) -> Iterator[RunningDesk]:
    told = {f"FNTX_{name.upper()}": str(path) for name, path in keys.items()}
    with quiet_desk.worker(**told):
        yield quiet_desk


def test_a_manager_with_the_key_is_answered(signing_desk: RunningDesk, keys: dict[str, Path]) -> None:
    """Its messages are signed, the worker verifies them, and the answer comes as without."""

    async def ask() -> object:
        async with signing_desk.manager(**keys) as manager:
            return await manager.list_sessions()

    assert run(ask) == []


def test_what_is_too_large_for_a_message_is_said_before_it_is_sent(
    signing_desk: RunningDesk, keys: dict[str, Path]
) -> None:
    """No worker would read it, and nobody would answer."""

    async def ask() -> None:
        async with signing_desk.manager(**keys) as manager:
            await manager.create_session("x" * 900_000)

    with pytest.raises(InvalidArgument, match="fit into a message"):
        run(ask)


def test_who_has_no_key_is_not_heard(signing_desk: RunningDesk) -> None:
    """A message that is not signed, one signed by a stranger, and a broadcast of either are refused and counted."""
    plain, strange = envelope(), envelope(b"c3RvcA==", content_type="application/data")
    with signing_desk.redis() as client:
        client.lpush("queries", json.dumps(plain), json.dumps(strange))
        wait_until(lambda: not client.llen("queries"), "both were taken")
        wait_until(lambda: not client.hlen("unacked"), "neither waits for anything")
        assert raw_app(signing_desk.redis_url).control.ping(timeout=1) == []
        for one in (plain, strange):
            assert not client.exists(f"celery-task-meta-{one['headers']['id']}")
    logs = "".join(path.read_text() for path in signing_desk.folder.glob("*.log"))
    assert "messages_refused" in logs
    assert "Unrecoverable" not in logs


def test_what_is_missing_or_open_to_others_is_said(tmp_path: Path) -> None:
    """Half a configuration, a key that others may read, one that is none, an empty folder: refused by name."""
    key, certificate = make_pair(tmp_path / "a", "one")
    whole = {"message_key_file": key, "message_cert_file": certificate, "message_certs_dir": tmp_path / "a"}
    assert serializer(Settings(home=tmp_path)) == "json"
    with pytest.raises(InvalidArgument, match="certificate"):
        serializer(Settings(home=tmp_path, message_key_file=key))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidArgument, match="no certificates"):
        serializer(Settings(home=tmp_path, **whole | {"message_certs_dir": tmp_path / "empty"}))
    with pytest.raises(InvalidArgument, match="cannot sign"):
        serializer(Settings(home=tmp_path, **whole | {"message_cert_file": key}))
    key.chmod(0o644)
    with pytest.raises(StackError, match="chmod"):
        serializer(Settings(home=tmp_path / str(uuid4()), **whole))
