"""One report: the script the desk handed out at joining, and its refusals as errors."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
from redis.exceptions import NoScriptError

from fntx_sessions.agent_client.joined import Joined
from fntx_sessions.agent_client.unsent import Batch
from fntx_sessions.exceptions import FntxError, InvalidArgument, NotJoined, StaleEpoch, Superseded, TooMuch
from fntx_sessions.state.redis_client import redis_errors

Refusal = Callable[[Joined, int, str], FntxError]

_FIX = "Report your own parts, within the limits that joining told."
_REFUSALS: dict[str, Refusal] = {
    "stale_epoch": lambda who, epoch, detail: StaleEpoch(str(who.session_id), epoch, int(detail)),
    "not_live": lambda who, *_: NotJoined(str(who.session_id), who.agent, "Redis holds nothing of it that is live"),
    "not_joined": lambda who, *_: NotJoined(str(who.session_id), who.agent, "Redis knows no ticket of it"),
    "superseded": lambda who, *_: Superseded(str(who.session_id), who.agent),
    "too_many": lambda who, _, detail: TooMuch(str(who.session_id), who.agent, f"{detail} reports a second"),
    "backlog": lambda who, _, detail: TooMuch(
        str(who.session_id), who.agent, f"{detail} records wait for Postgres already"
    ),
    "not_yours": lambda _, __, detail: InvalidArgument("part", detail or "another agent's", _FIX),
    "too_large": lambda _, __, detail: InvalidArgument("report", f"too large, {detail}", _FIX),
    "malformed": lambda _, __, detail: InvalidArgument("report", detail, _FIX),
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a report came to."""

    epoch: int
    revision: int
    records: int


class Reporter:
    """Reports of one agent under one ticket."""

    def __init__(self, client: redis.Redis, joined: Joined) -> None:
        self._redis = client
        self._joined = joined
        script = joined.report_script.encode()
        self._digest = hashlib.sha1(script, usedforsecurity=False).hexdigest()

    def send(self, epoch: int, acknowledged: str, batch: Batch) -> Accepted:
        """Report, beat the heart and acknowledge in one round trip; raises the refusal, or Unavailable.

        A report that was written but whose answer was lost may be sent again: it changes nothing.
        """
        with redis_errors():
            answer = self._run(self._values(epoch, acknowledged, batch))
        if answer[0]:
            return Accepted(*(int(value) for value in answer[1:4]))
        raise self._refusal(epoch, _text(answer[1]), _text(answer[2]))

    def _run(self, values: list[Any]) -> Any:
        keys = (self._joined.keys["live"], self._joined.keys["records"])
        try:
            return self._redis.evalsha(self._digest, 2, *keys, *values)
        except NoScriptError:
            return self._redis.eval(self._joined.report_script, 2, *keys, *values)

    def _values(self, epoch: int, acknowledged: str, batch: Batch) -> list[Any]:
        values: list[Any] = [epoch, self._joined.agent, self._joined.ticket, acknowledged, len(batch.parts)]
        for name, data in batch.parts.items():
            values += (name, data)
        for record in batch.records:
            values += (record.kind, record.record_id, record.data)
        return values

    def _refusal(self, epoch: int, reason: str, detail: str) -> FntxError:
        known = _REFUSALS.get(reason)
        if known is None:
            return InvalidArgument("report", f"refused as {reason}: {detail}", "Is this package as new as the desk's?")
        return known(self._joined, epoch, detail)


def _text(value: bytes | str | int) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
