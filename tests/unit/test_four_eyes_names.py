"""What FNTX_FOUR_EYES may name: nothing that ends risk, nothing that is none, and doctor says so."""

import pytest

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.four_eyes import NEVER, same_person
from fntx_sessions.security.roles import ALLOWED, of_two, seconds
from fntx_sessions.settings import Settings
from fntx_sessions.stack.four_eyes_status import diagnose_four_eyes

SAFETY = ("pause_session", "health_check_failed", "stop_session", "halt", "update_session", "order")


@pytest.mark.parametrize("name", sorted({*NEVER, "shred"}))
def test_what_may_not_wait_is_refused_with_the_reason_and_what_may(name):
    """The sentence says why, and lists the names there are."""
    with pytest.raises(InvalidArgument, match="shred_session") as refused:
        of_two(Settings(four_eyes=(name,)))
    assert (NEVER.get(name) or "there is no action") in str(refused.value)


def test_nothing_that_ends_risk_may_wait():
    """Whatever else is named: who pauses, stops, halts, lowers a limit or closes by hand waits for nobody."""
    assert set(SAFETY) <= NEVER.keys()
    assert {str(one) for one in NEVER} <= {str(one) for one in ALLOWED}


def test_all_else_of_the_table_may_and_has_people_who_can_be_second():
    """No action could be named that nobody may ever confirm."""
    possible = tuple(sorted(str(one) for one in ALLOWED if one not in NEVER))
    assert of_two(Settings(four_eyes=possible)) == set(possible)
    assert all(seconds(one) for one in possible)
    assert Trigger.SHRED in possible


def test_a_name_is_one_persons_however_it_is_written():
    """Two tokens, two spellings: one person."""
    assert same_person("Ann", "ann")
    assert not same_person("ann", "anna")


@pytest.mark.parametrize(
    ("names", "mode", "result"),
    [(("shred",), "required", "fail"), (("shred_session",), "open", "fail"), (("shred_session",), "required", "ok")],
)
def test_doctor_says_what_takes_two(names, mode, result):
    """A name that is none, and a desk that tells nobody apart, are failures."""
    (check,) = diagnose_four_eyes(Settings(four_eyes=names, auth_mode=mode))
    assert check.result == result
    assert list(diagnose_four_eyes(Settings())) == []
