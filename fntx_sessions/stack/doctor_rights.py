"""Checks of who may do what in the stores, and who may listen on the way to them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from sqlalchemy.exc import SQLAlchemyError

from fntx_sessions.stack.addresses import DATABASE, MAINTENANCE, REDIS
from fntx_sessions.stack.check import Check, first_line
from fntx_sessions.stack.rights_status import RightsFound, read_rights
from fntx_sessions.stack.status import connected
from fntx_sessions.tls import unprotected

_SHOWN = 5
_OWN_LOGIN = (
    "give FNTX_DATABASE_URL a login of its own and FNTX_MAINTENANCE_DATABASE_URL the owner's, then `fntx migrate`: "
    "docs/security.md, Database"
)
_AT_REST = (
    "live state in Redis and the columns that one queries by are plain: are the volumes of Postgres and Redis "
    "encrypted? That cannot be seen from here"
)


def diagnose_rights(url: str, *, behind: bool = False, newer: bool = False) -> list[Check]:
    """Return whether the connection in use and the roles may do what is declared, and guards are as installed.

    behind: migrations are pending, so that what is declared may be what they bring. newer: a newer package migrated,
    so that what is found may be what that one declares: nothing is said of how to change it.
    """
    try:
        with connected(url, "fntx doctor") as connection:
            found = list(judged(read_rights(connection)))
    except SQLAlchemyError as error:
        return [Check("database login", "warn", f"its rights were not seen: {first_line(error)}", "fntx doctor")]
    if newer:
        return [one if one.result == "ok" or one.fix == _OWN_LOGIN else _newer(one) for one in found]
    return [_behind(one) if behind and one.result == "fail" else one for one in found]


def _behind(check: Check) -> Check:
    return replace(check, meaning=f"{check.meaning} (migrations are behind: what they bring is missing here too)")


def _newer(check: Check) -> Check:
    meaning = f"{check.meaning} (the database is newer than this fntx: that may be as it should be)"
    return replace(check, meaning=meaning, fix="ask the fntx that migrated it: its fntx doctor")


def judged(found: RightsFound) -> Iterator[Check]:
    """Return what was found as checks."""
    yield _login(found)
    yield _roles(found)
    yield _guards(found)


def _login(found: RightsFound) -> Check:
    if found.temporary:
        more = f" and {_some(found.lacking)}" if found.lacking else ""
        told = f"{found.user} lacks TEMPORARY on the database{more}: nothing is saved"
        fix = f"as the owner of the database: {found.temporary}{'; then fntx migrate' if more else ''}"
        return Check("database login", "fail", told, fix)
    if found.powers:
        told = f"{found.user} {', '.join(found.powers)}: who has this connection can change the audit unseen"
        return Check("database login", "warn", told, _OWN_LOGIN)
    if found.lacking:
        told = f"{found.user} lacks {_some(found.lacking)}: commands or sweeps will fail"
        return Check("database login", "fail", told, "fntx migrate, as the owner of the tables")
    if found.surplus:
        told = f"{found.user} has too much: {_some(found.surplus)}"
        return Check("database login", "warn", told, f"REVOKE it from {found.user}, its other roles and PUBLIC")
    return Check("database login", "ok", f"{found.user} may do what workers do, and owns nothing")


def diagnose_ways(addresses: Mapping[str, str]) -> Iterator[Check]:
    """Return whether what goes to the stores can be read or answered by others on the way."""
    for name, told in (
        (DATABASE, "way to Postgres"),
        (MAINTENANCE, "way to Postgres, as owner"),
        (REDIS, "way to Redis"),
    ):
        url = addresses.get(name)
        if url:
            problem = unprotected(url)
            yield Check(
                told, "warn" if problem else "ok", problem or "TLS, or on this machine", _TLS[name] if problem else ""
            )
    yield Check("volumes", "ok", _AT_REST)


def _roles(found: RightsFound) -> Check:
    if found.missing:
        told = f"there is no role {' nor '.join(found.missing)}: whoever migrates may not make roles"
        fix = "; ".join(f"CREATE ROLE {role} NOLOGIN" for role in found.missing)
        return Check("database roles", "warn", told, f"as an administrator: {fix}; then fntx migrate")
    if found.strayed:
        told = f"the rights are not what is declared: {_some(found.strayed)}"
        return Check("database roles", "fail", told, "fntx migrate, as the owner of the tables")
    return Check("database roles", "ok", "fntx_app and fntx_read may do what is declared, table by table")


def _guards(found: RightsFound) -> Check:
    if not found.gaps:
        return Check("database guards", "ok", "what is append-only is guarded, and nobody else may change it")
    mends = ["fntx migrate"] if any(gap.ours for gap in found.gaps) else []
    mends += [gap.mend for gap in found.gaps if not gap.ours]
    fix = f"find out who did it: fntx audit verify --all; then, as the owner of the tables: {_some(tuple(mends))}"
    return Check("database guards", "fail", _some(tuple(gap.told for gap in found.gaps)), fix)


def _some(found: tuple[str, ...]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(found[:_SHOWN]) + more


_TLS = {
    DATABASE: "set FNTX_DATABASE_CA_FILE, or sslmode=verify-full in the address",
    MAINTENANCE: "set FNTX_DATABASE_CA_FILE, or sslmode=verify-full in the address",
    REDIS: "use rediss://, with FNTX_REDIS_CA_FILE",
}
