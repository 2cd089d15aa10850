"""Places: one token takes its own share of logins and of live pages, and leaves the others theirs."""

from pathlib import Path

import pytest

from fntx_sessions.monitoring.flower.logins import Logins
from fntx_sessions.monitoring.flower.streams import Streams
from fntx_sessions.monitoring.flower.who import Viewer, looking
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.local import ensure_local_keys
from fntx_sessions.security.tokens import issue
from fntx_sessions.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    ensure_local_keys(tmp_path)
    few = {"flower_logins_max": 4, "flower_logins_each_max": 2, "pages_streams_max": 6, "pages_streams_each_max": 2}
    return Settings(home=tmp_path, **few)


def test_one_token_ends_its_own_oldest_login_and_nobody_elses(settings):
    """However often somebody logs in with it; all together are bounded too, the oldest makes room."""
    logins = Logins(settings)
    ann, bob, eve = (issue(settings, name, ["viewer"], 60) for name in ("ann", "bob", "eve"))
    anns = logins.begin(ann)
    eves = [logins.begin(eve) for _ in range(10)]
    assert logins.viewer(anns)
    assert [logins.viewer(one) is not None for one in eves] == [False] * 8 + [True] * 2

    bobs = [logins.begin(bob) for _ in range(2)]
    assert logins.viewer(anns) is None
    assert all(map(logins.viewer, [*eves[-2:], *bobs]))


def test_one_token_has_its_own_live_pages_and_no_more(settings):
    """By however many logins; those without a token have half of all together. Who leaves makes room."""
    streams = Streams(settings)
    ann, again = (Viewer(Actor("ann", frozenset({"viewer"}), token_id="1"), "token", login) for login in ("a", "b"))
    bob, anybody = Viewer(Actor("ann", frozenset({"viewer"}), token_id="2")), looking("anonymous")

    assert [streams.begin(one) for one in (ann, again, ann)] == [True, True, False]
    assert [streams.begin(anybody) for _ in range(4)] == [True, True, True, False]
    assert [streams.begin(bob) for _ in range(2)] == [True, False]  # six are open
    streams.end(again)
    assert streams.begin(ann)
