"""The audit's chain shows what was done to it."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest

from fntx_sessions.security.audit import chain_hash, verify_chain

SESSION = UUID(int=7)
AT = datetime(2026, 1, 5, 14, 30, 0, 120_000, tzinfo=UTC)


def chain(length: int) -> list[dict]:
    rows, previous = [], None
    for seq in range(1, length + 1):
        row = {"session_id": SESSION, "seq": seq, "timestamp": AT, "actor": "ann", "args_hash": b"\x01", "note": None}
        row |= {"previous": previous, "hash": chain_hash(previous, row)}
        previous = row["hash"]
        rows.append(row)
    return rows


def test_a_whole_chain_has_no_problem():
    """Untouched rows verify, against the session's head too; so does a session without any."""
    rows = chain(4)
    assert verify_chain(rows) == verify_chain(rows, head=rows[-1]["hash"]) == verify_chain([]) == []


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda rows: rows[1].update(actor="eve"), id="a row changed"),
        pytest.param(lambda rows: rows.pop(1), id="a row removed"),
        pytest.param(lambda rows: rows.pop(0), id="the first row removed"),
        pytest.param(lambda rows: rows.insert(1, rows.pop(2)), id="rows reordered"),
        pytest.param(lambda rows: rows.pop(), id="the last row removed"),
        pytest.param(lambda rows: rows.clear(), id="all rows removed"),
        pytest.param(lambda rows: rows[2].update(previous=None), id="the link removed"),
        pytest.param(
            lambda rows: rows[1].update(actor="eve") or rows[1].update(hash=chain_hash(rows[1]["previous"], rows[1])),
            id="a row changed and its hash made anew",
        ),
    ],
)
def test_harm_shows(harm):
    """Whatever is done to the rows, the chain says that it does not hold."""
    rows = chain(4)
    head = rows[-1]["hash"]
    harm(rows)
    assert verify_chain(rows, head=head)


def test_the_problem_names_its_row():
    """One changed row is one problem, with its number."""
    rows = chain(3)
    rows[1]["actor"] = "eve"
    assert verify_chain(rows) == ["row 2 was changed after it was written"]


def test_what_postgres_gives_back_hashes_like_what_was_written():
    """Zones, buffer types and text forms of the same facts do not matter: text is written, types are read."""
    command, row = uuid4(), {"at": AT, "args_hash": b"\xff", "seq": 1}
    zoned = AT.astimezone(timezone(timedelta(hours=-5)))
    typed = {"id": command, "at": zoned, "args_hash": memoryview(b"\xff"), "seq": 1, "hash": b"x", "previous": b"y"}
    written = {"seq": 1, "args_hash": "ff", "at": AT.isoformat(), "id": str(command)}
    assert chain_hash(None, typed) == chain_hash(None, written)
    assert chain_hash(None, row) != chain_hash(b"\x01" * 32, row)
