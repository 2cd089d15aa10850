"""A sweep that remembers, killed at every write: each slice is there once, every agent is told."""

import pytest
from hosting import T, make_hosting, shared
from write_kills import deaths

from fntx_sessions.automation import remembering
from fntx_sessions.memory.arguments import ContextArguments, ListArguments
from fntx_sessions.memory.systems import memory_of

LAPSE = "UPDATE session_work SET memory_claimed_until = now() - interval '1 s' WHERE memory_claimed_until IS NOT NULL"


@pytest.fixture
def hosting(tmp_path, module_database_url, redis_url):
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def test_a_sweep_killed_at_any_write_is_made_up_for(hosting, tmp_path):
    """Before its first write, its second, and so on: the next sweep ends it; what is told twice says so by `about`."""
    at = {}

    def fresh():
        at["id"] = hosting.create(config={"agents": ["RiskManagerAgent"]})
        hosting.do(T.START, at["id"])

    def remember():
        with make_hosting(hosting.desk.settings) as own:
            remembering.remember(own.desk)

    memory = memory_of(*hosting.desk.parts())
    places = set()
    for died in deaths(remember, tmp_path, fresh):
        places.add(died.split()[2])
        hosting.run(LAPSE)
        remembering.remember(hosting.desk)
        kept = memory.listed(ListArguments(session_id=at["id"]))[::-1]
        assert [one.content["session_transition"]["version"] for one in kept] == [1, 2], died
        told = memory.context(ContextArguments(agent="RiskManagerAgent", session_id=at["id"]))
        assert {one.about for one in told} == {f"{at['id']}/1", f"{at['id']}/2"}, died
        row = hosting.row(at["id"])
        assert (row["remembered_version"], row["memory_due_at"]) == (2, None), died
    assert places == {"postgres:", "redis:", "after:"}
