"""The pages of one session, asked of the real stores and drawn: no Flower around them."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from drawing import drawn
from hosting import Hosting, make_hosting, shared

from fntx_sessions.exceptions import NotFound
from fntx_sessions.monitoring.flower.overview import Overview
from fntx_sessions.schemas import Trigger


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey_server: str) -> Iterator[Hosting]:
    home: Path = tmp_path_factory.mktemp("pages")
    with make_hosting(shared(home, module_database_url, valkey_server)) as made:
        yield made


def test_the_head_says_where_it_stands_since_when_by_whom_and_why(house: Hosting) -> None:
    """Status, actor and reason are at the head of each page of a session, whatever was written into them escaped."""
    session_id = house.started()
    house.do(Trigger.PAUSE, session_id, reason="<script>alert(1)</script> lunch")

    head = drawn(Overview(), house.desk, session_id)["session-head"].html

    assert "status-paused" in head
    assert "ann" in head
    assert "&lt;script&gt;alert(1)&lt;/script&gt; lunch" in head
    assert f"/sessions/{session_id}/timeline" in head


def test_a_session_that_is_not_there_is_said_so(house: Hosting) -> None:
    """An unknown id is no page."""
    with pytest.raises(NotFound):
        drawn(Overview(), house.desk, uuid4())
