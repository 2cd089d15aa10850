"""A session's audit: its rows, the newest first and a page at a time, and whether their chain holds."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.lifecycle.auditing.verifying import verify_one
from fntx_sessions.lifecycle.reads.rows import Row, of_session
from fntx_sessions.security.chain_check import KeyOf, verify_chain
from fntx_sessions.settings import get_settings
from fntx_sessions.state.chain_key import ChainKeys
from fntx_sessions.state.objects.cold import open_cold

# Head and rows of one moment; one more than is shown, which those shown must follow.
_PAGE = text("""
SELECT a.seq IS NOT NULL AS found, s.audit_seq, s.audit_head, a.* FROM sessions s LEFT JOIN LATERAL (
  SELECT * FROM audit WHERE session_id = s.session_id AND seq < :before ORDER BY seq DESC LIMIT :limit
) a ON true WHERE s.session_id = :session_id ORDER BY a.seq DESC
""")
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
    """A whole chain as it was at `at`. told: what could not be proven, and why."""

    rows: int
    problems: list[str]
    at: datetime
    told: list[str] = field(default_factory=list)


def audit_page(engine: Engine, session_id: UUID, limit: int, before: int | None) -> AuditPage:
    """Return up to `limit` rows before a seq, and how they hang together; raises NotFound, Busy and Unavailable.

    Those before them are not looked at, for which there is `verify_whole`.
    """
    bound = {"limit": limit + 1, "before": _NEWEST if before is None else before}
    found = of_session(engine, _PAGE, session_id, **bound)
    head, seq = (found[0]["audit_head"], found[0]["audit_seq"]) if found and before is None else (None, None)
    plain = [{name: value for name, value in row.items() if name not in _HEADS} for row in found]
    shown, follows = plain[:limit], plain[limit] if len(plain) > limit else None
    problems = verify_chain(reversed(shown), _keys(engine), head=head, head_seq=seq, after=follows)
    return AuditPage(shown, problems, shown[-1]["seq"] if follows else None)


def verify_whole(engine: Engine, session_id: UUID) -> Verified:
    """Check every row of a session's chain, and against the anchors; raises Busy and Unavailable.

    The longer the chain, the slower. A cold store that is out of reach is told, and stops nothing.
    """
    settings = get_settings()
    found = verify_one(engine, settings, open_cold(settings), session_id)
    told = [told for told in (found.unproven.get(session_id, ""), found.unasked, *found.about_anchors) if told]
    return Verified(found.rows, found.problems.get(session_id, []), datetime.now(UTC), told)


def _keys(engine: Engine) -> KeyOf:
    return ChainKeys(engine, get_settings()).rows
