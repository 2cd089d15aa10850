"""Lua scripts shipped as files: sent by digest, in full only to a server that does not hold them yet."""

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

import redis
from hiredis import pack_command
from redis.exceptions import NoScriptError

from fntx_sessions.state.redis_client import ask_many, redis_errors, translate

Value = str | bytes | int
Call = tuple[str, Sequence[Value]]


class Script:
    """One Lua file of this package, acting on one key."""

    def __init__(self, file: str) -> None:
        self._text = resources.files("fntx_sessions.state").joinpath(file).read_text()
        self._digest = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    def run(self, client: redis.Redis, key: str, *values: Value) -> Any:
        """Run on `key` in one round trip; raises Unavailable."""
        with redis_errors():
            try:
                return client.evalsha(self._digest, 1, key, *values)
            except NoScriptError:
                return client.eval(self._text, 1, key, *values)

    def run_many(self, client: redis.Redis, calls: Sequence[Call]) -> list[Any]:
        """Run every (key, values) in one pipeline and return the answers in order; raises Unavailable."""
        answers = self._pipeline(client, calls)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            # All or none were refused: a server forgets scripts only as a whole, on a restart or a flush.
            with redis_errors():
                client.script_load(self._text)
            answers = self._pipeline(client, calls)
        for answer in answers:
            if isinstance(answer, redis.RedisError):
                raise translate(answer) from answer
        return answers

    def _pipeline(self, client: redis.Redis, calls: Sequence[Call]) -> list[Any]:
        commands = [("EVALSHA", self._digest, 1, key, *values) for key, values in calls]
        return ask_many(client, [pack_command(command) for command in commands])  # type: ignore[arg-type]  # its stub
