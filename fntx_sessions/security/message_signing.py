"""Signing Celery's own messages, where a desk wants it: bodies signed with RSA, and taken only from known certificates.

A token says who asks for one task. This says which process wrote a message, remote control and events included, so that
whoever reaches Redis without a key can neither ask nor broadcast. Headers are not signed: what a task is, and whose
token it carries, is believed because of the token.
"""

from functools import lru_cache
from pathlib import Path

from celery.exceptions import SecurityError
from celery.security.serialization import register_auth

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.security.key_files import private_bytes
from fntx_sessions.settings import Settings

PLAIN, SIGNED = "json", "auth"
_FIX = "Set FNTX_MESSAGE_KEY_FILE, FNTX_MESSAGE_CERT_FILE and FNTX_MESSAGE_CERTS_DIR, or none of them."


def serializer(settings: Settings) -> str:
    """Return the name of the serializer of this desk's messages, ready to be used in this process.

    Raises InvalidArgument that names the file which is missing, readable for others, or no RSA key or certificate.
    """
    key, certificate, folder = settings.message_key_file, settings.message_cert_file, settings.message_certs_dir
    if key is None and certificate is None and folder is None:
        return PLAIN
    if key is None or certificate is None or folder is None:
        raise InvalidArgument("FNTX_MESSAGE_KEY_FILE", "needs a certificate and a folder of certificates", _FIX)
    _register(key, certificate, folder)
    return SIGNED


@lru_cache(maxsize=4)
def _register(key: Path, certificate: Path, folder: Path) -> None:
    if not folder.is_dir() or not any(folder.glob("*.pem")):
        raise InvalidArgument("FNTX_MESSAGE_CERTS_DIR", f"{folder} has no certificates, *.pem", _FIX)
    try:
        register_auth(
            key=private_bytes(key).decode(), cert=certificate.read_text(), store=str(folder / "*.pem"), digest="sha256"
        )
    except (SecurityError, ValueError, OSError, AssertionError) as error:
        problem = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InvalidArgument("FNTX_MESSAGE_KEY_FILE", f"cannot sign: {problem}", _FIX) from None
