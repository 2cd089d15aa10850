"""How far a recovery is, in Postgres: another worker goes on from there, and what was proven bad is not tried again."""

from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import statements
from fntx_sessions.exceptions import StaleEpoch

STEPS = {
    "fence": "raise the epoch: whoever wakes up from before writes nothing",
    "choose": "take the newest state that was not proven bad",
    "verify": "read it whole and prove every byte, its session, epoch and identity",
    "restore": "put the agents' memory and the market back, in one step",
    "read_back": "read the live state and compare it with what was put back",
    "cancel_openings": "cancel opening orders of older epochs at the broker",
    "ask_broker": "ask the broker what became of every order in flight, and for its fills",
    "reconcile": "bring the ledger up to the broker, compare both with what the agents remember",
    "finish": "end in PAUSED, with what was measured",
}

# A note need not reach the disk by itself: what follows it and must last is committed after it, and takes it along.
_LAZY = "SET LOCAL synchronous_commit = off;"
# Runs whose command was answered without them: their worker died between the answer and its note.
_OPEN = text(f"""{_LAZY}
WITH stale AS (
  UPDATE recovery_runs r SET state = CASE c.state WHEN 'done' THEN 'done' ELSE 'failed' END,
    updated_at = clock_timestamp(), finished_at = c.finished_at
  FROM commands c WHERE r.session_id = :session_id AND r.state = 'running' AND r.run_id <> :run_id
    AND c.command_id = r.run_id AND c.state IN ('done', 'refused')
)
INSERT INTO recovery_runs AS r (run_id, session_id, epoch) VALUES (:run_id, :session_id, :epoch)
ON CONFLICT (run_id) DO UPDATE SET epoch = excluded.epoch, state = 'running', updated_at = clock_timestamp()
WHERE r.epoch < excluded.epoch RETURNING report
""")
# Only while this attempt is the newest, and nobody's command has overtaken the recovery.
_NOTE = text(f"""{_LAZY}
UPDATE recovery_runs r SET steps = CAST(:steps AS jsonb), plan = CAST(:plan AS jsonb),
  report = CAST(:report AS jsonb), updated_at = clock_timestamp()
FROM sessions s WHERE r.run_id = :run_id AND r.epoch = :epoch AND s.session_id = r.session_id AND s.epoch = :epoch
  AND s.pending ->> 'command_id' = CAST(:run_id AS text)
RETURNING r.epoch
""")
_CLOSE = text(f"""{_LAZY}
UPDATE recovery_runs SET state = :state, steps = CAST(:steps AS jsonb), report = CAST(:report AS jsonb),
  updated_at = clock_timestamp(), finished_at = clock_timestamp()
WHERE run_id = :run_id AND epoch = :epoch AND state = 'running'
""")
_REPORT = text("SELECT report FROM recovery_runs WHERE run_id = :run_id")
_EPOCH = text("SELECT epoch FROM sessions WHERE session_id = :session_id")


def problems(engine: Engine, run_id: UUID) -> str:
    """Return in words what a run passed over so far; empty: nothing, or there is no such run."""
    with statements(engine) as connection:
        report = connection.execute(_REPORT, {"run_id": run_id}).scalar_one_or_none() or {}
    return "; ".join(f"{one['source']}: {one['problem']}" for one in report.get("passed_over", ()))


class Progress:
    """One attempt's record: steps, what was proven, what was found. Each note is one short statement."""

    def __init__(self, engine: Engine, run_id: UUID, session_id: UUID, epoch: int) -> None:
        """Open the record, or take over that of an earlier attempt; raises StaleEpoch when a newer one has it."""
        self._engine, self._run_id, self._session_id, self._epoch = engine, run_id, session_id, epoch
        bound = {"run_id": run_id, "session_id": session_id, "epoch": epoch}
        with statements(engine) as connection:
            found = connection.execute(_OPEN, bound).one_or_none()
        if found is None:
            raise self._stale()
        self.report: dict[str, Any] = {"first_epoch": epoch, "bad": {}, "passed_over": [], **found.report}
        self.report["attempts"] = self.report.get("attempts", 0) + 1
        self.plan: dict[str, Any] = {}
        self._steps: dict[str, dict[str, Any]] = {name: {"name": name, "status": "pending"} for name in STEPS}

    @property
    def bad(self) -> dict[str, str]:
        """Return what was proven bad, by key, with the reason."""
        bad: dict[str, str] = self.report["bad"]
        return bad

    def tried(self, name: str, mark: tuple[int, int]) -> None:
        """Remember what this attempt tried, in its order."""
        self.plan.setdefault("tried", []).append({"source": name, "epoch": mark[0], "revision": mark[1]})

    def passed_over(self, key: str, name: str, problem: str, *, for_good: bool) -> None:
        """Remember why a candidate was not taken; for_good: no attempt of this run tries it again."""
        if for_good:
            self.bad[key] = problem
        told = [one for one in self.report["passed_over"] if one["source"] != name]
        self.report["passed_over"] = [*told, {"source": name, "problem": problem}]

    def done(self, *steps: str, **report: Any) -> None:
        """Note steps as done with what they found; raises StaleEpoch when this attempt was overtaken."""
        for name in steps:
            self._steps[name] = {"name": name, "status": "done", "epoch": self._epoch}
        self.report |= report
        with statements(self._engine) as connection:
            found = connection.execute(_NOTE, self._bound()).one_or_none()
        if found is None:
            raise self._stale()

    def close(self, state: str, **report: Any) -> None:
        """End the run: done or failed. An attempt that was overtaken closes nothing."""
        if state == "done":
            self._steps["finish"] = {"name": "finish", "status": "done", "epoch": self._epoch}
        self.report |= report
        with statements(self._engine) as connection:
            connection.execute(_CLOSE, self._bound() | {"state": state})

    def _bound(self) -> dict[str, Any]:
        steps = orjson.dumps(list(self._steps.values())).decode()
        report = orjson.dumps(self.report, default=str).decode()
        plan = orjson.dumps(self.plan, default=str).decode()
        return {"run_id": self._run_id, "epoch": self._epoch, "steps": steps, "report": report, "plan": plan}

    def _stale(self) -> StaleEpoch:
        with statements(self._engine) as connection:
            current = connection.execute(_EPOCH, {"session_id": self._session_id}).scalar_one_or_none()
        return StaleEpoch(str(self._session_id), self._epoch, current)
