"""Live pages: how many there are, so that nobody takes all the places."""

from collections import Counter

from fntx_sessions.monitoring.flower.who import Viewer
from fntx_sessions.settings import Settings


class Streams:
    """The live pages of one process; used from its event loop alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: Counter[str] = Counter()

    def begin(self, viewer: Viewer) -> bool:
        """Take a place, to be given back by `end`; False where all are taken, or as many as are one viewer's."""
        if self._open.total() >= self._settings.pages_streams_max or self._open[viewer.key] >= self._most(viewer):
            return False
        self._open[viewer.key] += 1
        return True

    def end(self, viewer: Viewer) -> None:
        """Give a place back."""
        self._open[viewer.key] -= 1
        if not self._open[viewer.key]:
            del self._open[viewer.key]

    def _most(self, viewer: Viewer) -> int:
        """Return how many may be theirs. Those without a token are many under one name: they have half of all."""
        everybody = max(1, self._settings.pages_streams_max // 2)
        return self._settings.pages_streams_each_max if viewer.actor.token_id else everybody
