"""Whether a session's state is sound at this moment: what is live, what is saved, who may write, the money view."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import redis
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import FntxError, IntegrityError, InvalidArgument, NotFound
from fntx_sessions.schemas import SessionStatus, TradingState
from fntx_sessions.settings import Settings
from fntx_sessions.state.live import LiveCut, LiveState
from fntx_sessions.state.loading import load_save
from fntx_sessions.state.parts import AGENT_PREFIX, TRADING, checked
from fntx_sessions.trading.brokers import get_broker

_SAVES_LATE = 6  # intervals after which a save that is behind is worth a word
_AT = re.compile(r" - at `\$(?P<where>.*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[([^\]]*)\]")

_READ = text("""
SELECT w.status, s.broker, s.epoch AS session_epoch, w.epoch, w.saved_epoch, w.saved_revision, w.save_interval_s,
  extract(epoch FROM now() - w.last_saved_at)::float8 AS saved_ago_s,
  extract(epoch FROM clock_timestamp())::float8 * 1000 AS now_ms,
  (SELECT coalesce(jsonb_object_agg(g.agent, g.required), '{}') FROM session_agents g
    WHERE g.session_id = s.session_id) AS agents
FROM sessions s JOIN session_work w USING (session_id) WHERE s.session_id = :session_id
""")


@dataclass(slots=True)
class Findings:
    """What is wrong (errors) and what is worth a look (warnings), each with its path."""

    session_id: UUID
    errors: list[dict[str, str]] = field(default_factory=list)
    warnings: list[dict[str, str]] = field(default_factory=list)

    def wrong(self, path: str, problem: str) -> None:
        """Add an error: the state cannot be kept or trusted as it is."""
        self.errors.append({"path": path, "problem": problem})

    def odd(self, path: str, problem: str) -> None:
        """Add a warning."""
        self.warnings.append({"path": path, "problem": problem})

    def answer(self) -> dict[str, Any]:
        """Return valid, errors and warnings."""
        found = {"errors": self.errors, "warnings": self.warnings}
        return {"session_id": str(self.session_id), "valid": not self.errors, **found}


def validate_state(engine: Engine, client: redis.Redis, settings: Settings, session_id: UUID) -> dict[str, Any]:
    """Return ``{"valid": bool, "errors": [{path, problem}], "warnings": [...]}``, session_id beside them.

    Paths are `agent/RiskManagerAgent/internal_state/legs/0`, `market/spy_price`, `save`, `epoch`. Of a session that
    never started only what its agents have reported is judged, of a closed one nothing that is live. Raises NotFound
    and Unavailable.
    """
    with transaction(engine) as connection:
        row = connection.execute(_READ, {"session_id": session_id}).mappings().one_or_none()
    if row is None:
        raise NotFound("session", str(session_id), "List sessions with `fntx ls`.")
    findings = Findings(session_id)
    _check_save(engine, client, settings, dict(row), findings)
    if row["status"] != SessionStatus.CLOSED:
        cut = LiveState(client, settings).read([session_id])[0]
        _check_cut(engine, settings, dict(row), cut, findings)
    return findings.answer()


def _check_cut(
    engine: Engine, settings: Settings, row: dict[str, Any], cut: LiveCut | None, findings: Findings
) -> None:
    if cut is not None:
        _check_parts(settings, cut, findings)
    if row["epoch"] and cut is None:
        findings.wrong("live", "Redis holds no live state of it; `fntx recover` puts the last save back")
    elif row["epoch"] and cut is not None:
        _check_live(engine, settings, row, cut, findings)


def _check_save(
    engine: Engine, client: redis.Redis, settings: Settings, row: dict[str, Any], findings: Findings
) -> None:
    try:
        found = load_save(engine, client, settings, findings.session_id)
    except NotFound:
        if row["saved_revision"]:
            findings.wrong("save", "Postgres says that it was saved, and no tier has the save")
        elif row["epoch"]:
            findings.odd("save", "it was never saved")
        return
    except (InvalidArgument, IntegrityError) as error:
        findings.wrong("save", str(error))
        return
    for problem in found.problems:
        findings.odd("save", problem)
    for name, data in found.snapshot.parts.items():
        _check_part(settings, f"save/{name}", name, data, findings)


def _check_parts(settings: Settings, cut: LiveCut, findings: Findings) -> None:
    for name, data in sorted(cut.parts.items()):
        _check_part(settings, name, name, data, findings)


def _check_live(engine: Engine, settings: Settings, row: dict[str, Any], cut: LiveCut, findings: Findings) -> None:
    _check_fence(row, cut, findings)
    _check_agents(settings, row, cut, findings)
    _check_money(engine, row, cut, findings)


def _check_part(settings: Settings, path: str, name: str, data: bytes, findings: Findings) -> None:
    try:
        checked(name, data, settings.max_part_bytes)
    except InvalidArgument as error:
        problem = str(error.named()["problem"])
        where = _AT.search(problem)
        findings.wrong(path + (_below(where["where"]) if where else ""), _AT.sub("", problem))


def _below(where: str) -> str:
    """Return `$.legs[0].bid`, as the decoder says it, as `/legs/0/bid`."""
    return "".join(f"/{key or index}" for key, index in _STEP.findall(where))


def _check_fence(row: dict[str, Any], cut: LiveCut, findings: Findings) -> None:
    if row["session_epoch"] != row["epoch"]:
        findings.wrong("epoch", f"the session is at {row['session_epoch']}, its work row at {row['epoch']}")
    if cut.epoch != row["epoch"]:
        findings.wrong("epoch", f"the live fence stands at {cut.epoch}, the session at {row['epoch']}")
    saved = (row["saved_epoch"], row["saved_revision"])
    if (cut.epoch, cut.revision) < saved:
        findings.wrong("revision", f"live state is at {cut.revision}, saved is {saved[1]}: Redis lost the newer one")
    late_s = _SAVES_LATE * row["save_interval_s"]
    behind = (cut.epoch, cut.revision) > saved
    if behind and (row["saved_ago_s"] is None or row["saved_ago_s"] > late_s):
        findings.odd("save", f"the last save is behind, and older than {late_s:.0f} s")


def _check_agents(settings: Settings, row: dict[str, Any], cut: LiveCut, findings: Findings) -> None:
    for agent, required in sorted(row["agents"].items()):
        path = AGENT_PREFIX + agent
        if path not in cut.parts:
            tell = findings.wrong if required and row["saved_revision"] else findings.odd
            tell(path, "it is on the roster and has no state here")
            continue
        beat = cut.beats.get(agent)
        silent_s = None if beat is None else (row["now_ms"] - beat) / 1000
        if row["status"] == SessionStatus.ACTIVE and (silent_s is None or silent_s > settings.lease_s):
            findings.odd(path, "no heartbeat" if silent_s is None else f"no heartbeat for {silent_s:.0f} s")


def _check_money(engine: Engine, row: dict[str, Any], cut: LiveCut, findings: Findings) -> None:
    """Compare the money view with what the broker holds, which is what counts."""
    if TRADING not in cut.parts:
        return
    try:
        view = TradingState.model_validate_json(cut.parts[TRADING])
    except ValueError as error:
        findings.odd(TRADING, f"it is no money view: {str(error).splitlines()[0]}")
        return
    try:
        held = get_broker(row["broker"], engine).positions(findings.session_id)
    except FntxError as error:
        findings.odd(TRADING, f"not compared with the broker: {error}")
        return
    told = _by_symbol((position.symbol, position.quantity) for position in view.open_positions)
    real = _by_symbol((holding.contract.symbol, holding.quantity) for holding in held)
    for symbol in sorted(told.keys() | real.keys()):
        if told.get(symbol, 0) != real.get(symbol, 0):
            problem = f"the view says {told.get(symbol, 0)}, the broker holds {real.get(symbol, 0)}"
            findings.odd(f"{TRADING}/open_positions/{symbol}", problem)


def _by_symbol(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for symbol, quantity in pairs:
        found[symbol] = found.get(symbol, 0) + quantity
    return found
