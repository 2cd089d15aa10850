"""Whether the keys that sign and verify tokens are there and sound, and how old the one in use is."""

from collections.abc import Iterator
from datetime import UTC, datetime

from fntx_sessions.exceptions import StackError
from fntx_sessions.security.keys import KeyPair, signing_pair, system_pair
from fntx_sessions.security.signing_keys import SigningKey, list_keys
from fntx_sessions.settings import Settings
from fntx_sessions.stack.check import Check

OLD_DAYS = 365


def diagnose_signing(settings: Settings) -> Iterator[Check]:
    """Yield a check of people's keys and one of the system's."""
    yield _check("signing key", "fntx signing-keys rotate", signing_pair(settings))
    system = system_pair(settings)
    if system.public.exists() and not system.private.exists():
        # Workers and beat sign on every host; without it each of their own tasks is refused as a forger's would be.
        told = f"{system.private} is gone: workers and beat are refused what they do by themselves, no exit runs"
        yield Check("system key", "fail", told, "fntx up, which makes another; a fleet: copy it from another host")
    else:
        yield _check("system key", "fntx signing-keys rotate --system", system)


def _check(name: str, fix: str, pair: KeyPair) -> Check:
    if not pair.private.exists():
        if pair.public.exists():
            return Check(name, "ok", f"{pair.public}; tokens are signed elsewhere")
        return Check(name, "fail", f"there is none in {pair.private.parent}: nothing is verified", "fntx up")
    try:
        found = list_keys(pair)
    except StackError as error:
        return Check(name, "fail", *error.args)
    current = next((one for one in found if one.state == "current"), None)
    if current is None:
        return Check(name, "fail", f"{pair.public} does not hold the key that signs: its tokens are refused", "fntx up")
    return _aged(name, fix, current, len(found))


def _aged(name: str, fix: str, current: SigningKey, number: int) -> Check:
    known = current.made_at is not None
    days = (datetime.now(UTC) - current.made_at).days if current.made_at else 0
    told = f"{current.key_id}{f', {days} days old' if known else ''}; {number} verify"
    return Check(name, "warn", told, fix) if days > OLD_DAYS else Check(name, "ok", told)
