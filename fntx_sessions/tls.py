"""Addresses of stores that speak TLS: every client reads what it needs to verify them from the address itself.

One place for SQLAlchemy, psycopg2, redis-py, Celery's broker and its result backend: all take it from the query.
"""

from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from fntx_sessions.exceptions import InvalidArgument

VERIFIED = "verify-full"
_VERIFYING = {"verify-ca", VERIFIED}
# What redis-py takes for one.
_NO = {"0", "F", "FALSE", "N", "NO"}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def redis_address(url: str, ca_file: Path | None) -> str:
    """Return a `rediss://` URL that asks for a verified server, by `ca_file` or the machine; others as is.

    What the URL says itself stays. Raises ValueError where by that `ca_file` would verify nobody over a network.
    """
    speaks_tls = url.startswith("rediss://")
    if ca_file and unprotected(url):
        msg = _WITHOUT_CHECKS if speaks_tls else _WITHOUT_TLS
        raise ValueError(msg)
    if not speaks_tls:
        return url
    wanted = {"ssl_cert_reqs": "required"} | ({"ssl_ca_certs": str(ca_file)} if ca_file else {})
    return _with(url, wanted)


def postgres_address(url: str, ca_file: Path | None) -> str:
    """Return a URL that asks for a server verified by `ca_file`, host name included; as it is without a file.

    What the URL says itself stays. Raises ValueError where by that `ca_file` would verify nobody.
    """
    if ca_file is None:
        return url
    mode = dict(parse_qsl(urlsplit(url).query)).get("sslmode", VERIFIED)
    if mode not in _VERIFYING and unprotected(url):
        msg = f"says sslmode={mode}, by which the CA file beside it verifies nobody: leave sslmode out"
        raise ValueError(msg)
    return _with(url, {"sslmode": VERIFIED, "sslrootcert": str(ca_file)})


def secured(environment: dict[str, str]) -> dict[str, str]:
    """Return FNTX_* variables whose addresses carry what the other variables say they are verified by.

    Raises InvalidArgument naming one beside which a CA file would verify nobody.
    """
    found = dict(environment)
    for name, secure, told in _VARIABLES:
        if found.get(name):
            try:
                found[name] = secure(found[name], Path(found[told]) if found.get(told) else None)
            except ValueError as error:
                raise InvalidArgument(name, str(error), f"Or unset {told}.") from None
    return found


def unprotected(url: str) -> str:
    """Say why what goes over a network to this store can be read or answered by others; empty: it cannot.

    Sockets and loopback are no network.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    host = parts.hostname or query.get("host", "")
    if not host or host.startswith("/") or host in _LOOPBACK or parts.scheme == "unix":
        return ""
    if parts.scheme.startswith("postgresql"):
        return _of_postgres(query.get("sslmode", "prefer"))
    if parts.scheme == "redis":
        return "it speaks no TLS: passwords, commands and live state pass readable"
    return _of_redis(query)


def _of_redis(query: dict[str, str]) -> str:
    verified = query.get("ssl_cert_reqs", "required") in {"required", "CERT_REQUIRED"}
    return "" if verified and query.get("ssl_check_hostname", "true").upper() not in _NO else _UNVERIFIED


def _of_postgres(mode: str) -> str:
    if mode in {"disable", "allow", "prefer"}:
        return f"sslmode={mode} does not insist on TLS: whoever is between may read everything"
    return "" if mode == VERIFIED else _UNVERIFIED


_VARIABLES = (
    ("FNTX_DATABASE_URL", postgres_address, "FNTX_DATABASE_CA_FILE"),
    ("FNTX_MAINTENANCE_DATABASE_URL", postgres_address, "FNTX_DATABASE_CA_FILE"),
    ("FNTX_REDIS_URL", redis_address, "FNTX_REDIS_CA_FILE"),
)
_WITHOUT_TLS = "speaks no TLS, so that the CA file beside it verifies nobody: write rediss://"
_WITHOUT_CHECKS = (
    "turns off what the CA file beside it is for, so that it verifies nobody: "
    "leave ssl_cert_reqs and ssl_check_hostname out"
)
_UNVERIFIED = "the server's certificate is not verified: whoever is between may answer in its place"


def _with(url: str, wanted: dict[str, str]) -> str:
    parts = urlsplit(url)
    query = wanted | dict(parse_qsl(parts.query, keep_blank_values=True))
    # A path stays one: neither libpq nor redis-py need it encoded, and messages show it.
    return parts._replace(query=urlencode(query, safe="/:")).geturl()
