"""A seal for tests without a database: each session's data key follows from its id."""

import hashlib
from uuid import UUID

from fntx_sessions.state.codec import Codec
from fntx_sessions.state.data_key import DataKey


class FixedSeal:
    """Data keys made of a session's id and a word."""

    def __init__(self, word: str = "", *, accepts_unsealed: bool = False) -> None:
        self.word = word
        self.accepts_unsealed = accepts_unsealed

    def sealing(self, session_id: UUID) -> DataKey:
        secret = hashlib.sha256(f"{self.word}{session_id}".encode()).digest()
        return DataKey.of(session_id, secret[:8], secret)

    opening = sealing


def fixed_codec(word: str = "", *, accepts_unsealed: bool = False) -> Codec:
    """Return a codec over a FixedSeal."""
    return Codec(FixedSeal(word, accepts_unsealed=accepts_unsealed))
