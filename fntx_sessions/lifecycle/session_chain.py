"""A link of a session's chain that no command makes: what somebody was denied. It changes nothing else of the session.

Beside the machine this alone locks a session's row, for two statements, and only as often as denials are written down.
"""

from dataclasses import replace
from uuid import UUID

from sqlalchemy import Engine

from fntx_sessions.database.engine import transaction
from fntx_sessions.lifecycle.desk_audit import Deed, audit_row, is_written, linked
from fntx_sessions.lifecycle.machine_sql import CHAIN_END, NOTE
from fntx_sessions.lifecycle.records import to_json
from fntx_sessions.security.actor import Actor
from fntx_sessions.state.chain_key import chain_key


def note(engine: Engine, session_id: UUID, actor: Actor, deed: Deed) -> bool:
    """Write one row into a session's chain; False: there is no such session, and nothing was written.

    A message that comes twice leaves one row. Raises Busy and Unavailable.
    """
    key = chain_key(engine)
    with transaction(engine) as connection:
        row = connection.execute(CHAIN_END, {"session_id": session_id}).mappings().one_or_none()
        if row is None:
            return False
        if is_written(connection, session_id, row["audit_seq"], actor, deed):
            return True
        at = replace(deed, version_before=row["version"], version_after=row["version"])
        entry = audit_row(session_id, actor, at, row["audit_seq"] + 1, row["now"], key.key_id)
        link = linked(entry, row["audit_head"], key)
        connection.execute(NOTE, link | {"audit": to_json([link])})
    return True
