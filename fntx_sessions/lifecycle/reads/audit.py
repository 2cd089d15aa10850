"""A session's audit: its rows, the newest first and a page at a time, and whether their chain holds."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.lifecycle.reads.rows import Row, of_session
from fntx_sessions.security.chain_check import KeyOf, verify_chain
from fntx_sessions.settings import get_settings
from fntx_sessions.state.chain_key import ChainKeys

# Head and rows of one moment; one more than is shown, which those shown must follow.
_PAGE = text("""
SELECT a.seq IS NOT NULL AS found, s.audit_seq, s.audit_head, a.* FROM sessions s LEFT JOIN LATERAL (
  SELECT * FROM audit WHERE session_id = s.session_id AND seq < :before ORDER BY seq DESC LIMIT :limit
) a ON true WHERE s.session_id = :session_id ORDER BY a.seq DESC
""")
_STRETCH = text("SELECT * FROM audit WHERE session_id = :session_id AND seq > :after ORDER BY seq LIMIT :limit")
_HEAD = text("SELECT audit_seq, audit_head, clock_timestamp() AS now FROM sessions WHERE session_id = :session_id")
_AT_ONCE = 5000
_HEADS = ("audit_seq", "audit_head")
_NEWEST = 2**62


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Rows, the newest first. problems: where their chain does not hold; older: before which seq others are."""

    rows: list[Row]
    problems: list[str]
    older: int | None


@dataclass(frozen=True, slots=True)
class Verified:
    """A whole chain, from its first row to the head at `at`."""

    rows: int
    problems: list[str]
    at: datetime


def audit_page(engine: Engine, session_id: UUID, limit: int, before: int | None) -> AuditPage:
    """Return up to `limit` rows before a seq, and how they hang together; raises NotFound, Busy and Unavailable.

    Those before them are not looked at, for which there is `verify_whole`.
    """
    bound = {"limit": limit + 1, "before": _NEWEST if before is None else before}
    found = of_session(engine, _PAGE, session_id, **bound)
    head = found[0]["audit_head"] if found and before is None else None
    plain = [{name: value for name, value in row.items() if name not in _HEADS} for row in found]
    shown, follows = plain[:limit], plain[limit] if len(plain) > limit else None
    problems = verify_chain(reversed(shown), _keys(engine), head=head, after=follows)
    return AuditPage(shown, problems, shown[-1]["seq"] if follows else None)


def verify_whole(engine: Engine, session_id: UUID) -> Verified:
    """Check every row of a session's chain, as it stands now; raises Busy and Unavailable. The longer, the slower."""
    with transaction(engine) as connection:
        head = connection.execute(_HEAD, {"session_id": session_id}).mappings().one()
    last: Row | None = None
    key_of = _keys(engine)
    problems: list[str] = []
    while stretch := _stretch(engine, session_id, last, head["audit_seq"]):
        problems += verify_chain(stretch, key_of, after=last)
        last = stretch[-1]
    if head["audit_head"] is not None and (last is None or bytes(last["hash"]) != bytes(head["audit_head"])):
        problems.append(f"the chain ends at row {last['seq'] if last else 0}, but its head is of another row")
    return Verified(head["audit_seq"], problems, head["now"])


def _stretch(engine: Engine, session_id: UUID, last: Row | None, until: int) -> list[Row]:
    """Return the next rows; what came after the head was read is no part of what is checked."""
    after = 0 if last is None else last["seq"]
    with transaction(engine) as connection:
        bound = {"session_id": session_id, "after": after, "limit": _AT_ONCE}
        return [row for row in rows(connection.execute(_STRETCH, bound)) if row["seq"] <= until]


def _keys(engine: Engine) -> KeyOf:
    return ChainKeys(engine, get_settings()).rows
