"""What this agent may know: opened with a key that never leaves its process."""

import base64
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from uuid import UUID

import orjson
import redis
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox
from pydantic import SecretStr

from fntx_sessions.exceptions import IntegrityError, InvalidArgument, Unavailable
from fntx_sessions.security.known_secrets import InUse
from fntx_sessions.state.redis_client import redis_errors

Known = Mapping[str, SecretStr]
Ask = Callable[[], dict[str, Any]]


class Credentials:
    """The credentials of one agent; `ask` has the desk put them into its inbox and answers what is there."""

    def __init__(self, client: redis.Redis, session_id: UUID, agent: str, ask: Ask, refresh_s: float) -> None:
        self._redis = client
        self._who = {"session_id": str(session_id), "agent": agent}
        self._ask = ask
        self._refresh_s = refresh_s
        self._private = PrivateKey.generate()
        self._use = InUse()
        self._held: Known = MappingProxyType({})
        self._good_until = 0.0

    @property
    def sealing_key(self) -> str:
        """The public half, as joining tells it."""
        return base64.b64encode(bytes(self._private.public_key)).decode()

    def get(self, *, fresh: bool) -> Known:
        """Return them, asking again where what is held is old, or at once for `fresh`; raises as `AgentClient` says."""
        if fresh or time.monotonic() >= self._good_until:
            answer = self._ask()
            opened = {name: self._opened(answer["inbox"], name, of) for name, of in answer["credentials"].items()}
            self._hold(opened)
        return self._held

    def refuse_told(self, *told: bytes) -> None:
        """Raise InvalidArgument where one of them stands in what is to be reported."""
        for data in told:
            name = self._use.found_in(data)
            if name is not None:
                raise InvalidArgument("report", f"holds the credential {name}", "Report what it was used for.")

    def forget(self) -> None:
        """Let go of all of them."""
        self._use.end()
        self._held, self._good_until = MappingProxyType({}), 0.0

    def _hold(self, opened: dict[str, str]) -> None:
        self._use.hold(opened)
        self._held = MappingProxyType({name: SecretStr(value) for name, value in opened.items()})
        self._good_until = time.monotonic() + self._refresh_s

    def _opened(self, inbox: str, name: str, version: int) -> str:
        with redis_errors():
            sealed = self._redis.hget(inbox, name)
        if not isinstance(sealed, bytes):
            raise Unavailable("the agent's inbox", f"credential {name} is not there any more", "Ask again.")
        wanted = self._who | {"name": name, "version": version}
        try:
            letter = orjson.loads(SealedBox(self._private).decrypt(sealed))
            value = str(letter.pop("value"))
        except (CryptoError, ValueError, KeyError, TypeError, AttributeError):
            raise IntegrityError(f"credential {name}", "it does not open with this agent's key: join again") from None
        if letter != wanted:
            raise IntegrityError(
                f"credential {name}", "it was sealed as something else, or changed just now: ask again"
            )
        return value
