"""A template's body is what it says and nothing else; what became of it, by whom and why, is in template_versions.

Revision: 0014, after 0012. The shipped templates come after the newest revision, from `database.seeds`.
"""

from collections.abc import Iterator
from typing import Any

import orjson
import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0012"
branch_labels = None
depends_on = None

_RULES = ("auto_start_conditions", "auto_stop_conditions", "auto_pause_conditions", "auto_resume_conditions")
_ELSEWHERE = ("template_id", "template_name", "created_at", "last_used", "usage_count", "version", "rules_history")
_EMPTY: dict[str, Any] = {
    "description": "", "default_config": {}, "default_risk_parameters": {}, "required_agents": [],
    "optional_agents": [], "remote_agents": [], "agent_configurations": {}, "enabled_strategies": [],
    "strategy_parameters": {}, **{key: [] for key in _RULES},
}  # fmt: skip
_READ = sa.text("SELECT template_id, version, body FROM templates")
_WRITE = sa.text("UPDATE templates SET body = CAST(:body AS jsonb) WHERE template_id = :template_id")
_KEEP = sa.text("""
INSERT INTO template_versions (template_id, version, body, action, actor, reason, command_id, timestamp)
VALUES (:template_id, :version, CAST(:body AS jsonb), :action, :actor, :reason, CAST(:command_id AS uuid),
  coalesce(CAST(:at AS timestamptz), now()))
""")
_BACK = sa.text("""
UPDATE templates t SET body = (t.body - 'remote_agents') || jsonb_build_object('template_id', t.template_id,
  'template_name', t.template_name, 'created_at', t.created_at, 'version', t.version)
""")


def upgrade() -> None:
    op.add_column("template_versions", sa.Column("arguments_hash", sa.LargeBinary(), nullable=True))
    connection = op.get_bind()
    for row in connection.execute(_READ).mappings().all():
        for kept in _history(row["template_id"], row["version"], row["body"]):
            connection.execute(_KEEP, kept | {"body": orjson.dumps(kept["body"]).decode()})
        body = orjson.dumps(_plain(row["body"])).decode()
        connection.execute(_WRITE, {"template_id": row["template_id"], "body": body})


def _plain(body: dict[str, Any]) -> dict[str, Any]:
    found = _EMPTY | {key: value for key, value in body.items() if key not in _ELSEWHERE}
    config = dict(found["default_config"])
    for key in _RULES:
        conditions = config.pop(key, found[key])
        found[key] = [{name: value for name, value in one.items() if value is not None} for one in conditions]
    return found | {"default_config": config}


def _history(template_id: Any, version: int, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the versions there were, newest first: each edit of rules says what was there before it."""
    contents = _plain(body)
    for edit in reversed(body.get("rules_history") or []):
        yield {
            "template_id": template_id, "version": edit["version"], "body": contents, "action": "edited",
            "actor": edit["actor"], "reason": edit["reason"], "command_id": edit["command_id"], "at": edit["at"],
        }  # fmt: skip
        contents = contents | edit["before"]
        version = edit["version"] - 1
    # Before the first edit, every template was as this package had shipped it; of a long history the first are gone.
    first = {"action": "shipped", "actor": "fntx-sessions", "reason": "shipped with this package"}
    older = {"action": "edited", "actor": "not known", "reason": "before the edits that were kept"}
    yield {
        "template_id": template_id, "version": version, "body": contents, "command_id": None,
        "at": body.get("created_at"), **(first if version == 1 else older),
    }  # fmt: skip


def downgrade() -> None:
    op.execute(_BACK)
    op.execute("DELETE FROM template_versions")
    op.drop_column("template_versions", "arguments_hash")
