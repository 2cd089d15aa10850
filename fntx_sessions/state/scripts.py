"""Lua scripts shipped as files: sent by digest, in full only to a server that does not hold them yet."""

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

import redis
from hiredis import pack_command
from redis.exceptions import NoScriptError

from fntx_sessions.exceptions import Unavailable
from fntx_sessions.state.redis_client import ask_many, redis_errors, translate

Value = str | bytes | int
Keys = str | tuple[str, ...]
Call = tuple[Keys, Sequence[Value]]


class Script:
    """Lua files of this package one after the other, as one script that acts on the keys of one session."""

    def __init__(self, *files: str) -> None:
        folder = resources.files("fntx_sessions.state")
        self.text = "".join(folder.joinpath(file).read_text() for file in files)
        self._digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def run(self, client: redis.Redis, keys: Keys, *values: Value) -> Any:
        """Run on one key, or several, in one round trip; raises Unavailable."""
        named = _named(keys)
        with redis_errors():
            try:
                return client.evalsha(self._digest, len(named), *named, *values)
            except NoScriptError:
                return client.eval(self.text, len(named), *named, *values)

    def run_many(self, client: redis.Redis, calls: Sequence[Call], *, apart: bool = False) -> list[Any]:
        """Run every (keys, values) in one pipeline and return the answers in order; raises Unavailable.

        apart: a call that fails by what it finds, as it does not where its keys are what the desk writes, answers its
        error in its place and hides no other.
        """
        answers = self._pipeline(client, calls)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            # All or none were refused: a server forgets scripts only as a whole, on a restart or a flush.
            with redis_errors():
                client.script_load(self.text)
            answers = self._pipeline(client, calls)
        for answer in answers:
            if isinstance(answer, redis.RedisError):
                translated = translate(answer)
                if not apart or isinstance(translated, Unavailable):
                    raise translated from answer
        return answers

    def _pipeline(self, client: redis.Redis, calls: Sequence[Call]) -> list[Any]:
        each = ((_named(keys), values) for keys, values in calls)
        commands = [("EVALSHA", self._digest, len(keys), *keys, *values) for keys, values in each]
        return ask_many(client, [pack_command(command) for command in commands])  # type: ignore[arg-type]  # its stub


def _named(keys: Keys) -> tuple[str, ...]:
    return (keys,) if isinstance(keys, str) else keys
