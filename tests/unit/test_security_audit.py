"""The audit's chain shows what was done to it."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest

from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.security.audit import args_hash, chain_hash
from fntx_sessions.security.chain_check import ChainCheck, verify_chain

SESSION = UUID(int=7)
AT = datetime(2026, 1, 5, 14, 30, 0, 120_000, tzinfo=UTC)


KEY = b"k" * 32


def key_of(key_id: str) -> bytes:
    if key_id != "aa":
        raise IntegrityError(f"chain key {key_id}", "is not there")
    return KEY


def chain(length: int, *, keyless: int = 0) -> list[dict]:
    rows, previous = [], None
    for seq in range(1, length + 1):
        row = {"session_id": SESSION, "seq": seq, "timestamp": AT, "actor": "ann", "args_hash": b"\x01", "note": None}
        row["key_id"] = None if seq <= keyless else "aa"
        rows.append(linked(previous, row))
        previous = row["hash"]
    return rows


def linked(previous: bytes | None, row: dict) -> dict:
    key = KEY if row["key_id"] else None
    row.update(previous=previous, hash=chain_hash(previous, row, key))
    return row


def renumber(rows: list[dict]) -> None:
    for seq, row in enumerate(rows, 1):
        row["seq"] = seq


def forged(rows: list[dict], at: int) -> None:
    """Insert a row that nobody with the key wrote, linked to the row before it; those after it move up."""
    previous = rows[at - 1]["hash"]
    row = rows[at - 1] | {"actor": "eve", "previous": previous}
    rows.insert(at, row | {"hash": chain_hash(previous, row, b"guess")})
    renumber(rows)


def test_a_whole_chain_has_no_problem():
    """Untouched rows verify, against their head too; so does a chain without any, and one that got its key later."""
    rows = chain(4)
    assert verify_chain(rows, key_of) == verify_chain(rows, key_of, head=rows[-1]["hash"]) == []
    assert verify_chain([], key_of) == verify_chain(chain(4, keyless=2), key_of) == []


HARMS = {
    "changed": (lambda rows: rows[1].update(actor="eve"), "row 2 was changed after it was written"),
    "changed, hash made anew without the key": (
        lambda rows: rows[1].update(
            actor="eve", hash=chain_hash(rows[1]["previous"], rows[1] | {"actor": "eve"}, None)
        ),
        "row 2 was changed after it was written",
    ),
    "removed": (lambda rows: rows.pop(1), "row 2 missing before row 3"),
    "removed, the rest moved up": (lambda rows: (rows.pop(1), renumber(rows)), "row 2 was written as row 3"),
    "the first removed": (lambda rows: rows.pop(0), "row 1 missing before row 2"),
    "two removed": (lambda rows: (rows.pop(1), rows.pop(1)), "rows 2 to 3 missing before row 4"),
    "reordered": (lambda rows: (rows.insert(1, rows.pop(2)), renumber(rows)), "row 2 was written as row 3"),
    "inserted": (lambda rows: forged(rows, 2), "row 3 was inserted"),
    "cut off": (lambda rows: rows.pop(), "the chain ends at row 4, but its head is of another row"),
    "all removed": (lambda rows: rows.clear(), "the chain ends at row 0"),
    "unlinked": (lambda rows: rows[2].update(previous=None), "row 3 does not follow the row before it"),
    "renamed key": (lambda rows: rows[2].update(key_id="bb"), "row 3 cannot be verified"),
    "written anew without a key": (
        lambda rows: rows.__setitem__(slice(None), chain(5, keyless=5)),
        "its head is of another row",
    ),
    "one without a key among keyed": (
        lambda rows: linked(rows[1]["previous"], rows[1] | {"key_id": None}) and rows[1].update(key_id=None),
        "row 2 names no key, though rows before it do",
    ),
}


@pytest.mark.parametrize(("harm", "said"), HARMS.values(), ids=HARMS)
def test_harm_shows_and_names_its_row(harm, said):
    """Whatever is done to the rows, the chain says that it does not hold, what was done and to which row."""
    rows = chain(5)
    head = rows[-1]["hash"]
    harm(rows)
    assert said in " / ".join(verify_chain(rows, key_of, head=head))


def test_the_problem_names_its_row():
    """One changed row is one problem, with its number."""
    rows = chain(3)
    rows[1]["actor"] = "eve"
    [problem] = verify_chain(rows, key_of, head=rows[-1]["hash"])
    assert problem.startswith("row 2 ")


def test_rows_cut_off_are_counted():
    """Where the number of the head is known, it is said which rows are gone."""
    rows = chain(6)
    check = ChainCheck(key_of)
    for row in rows[:3]:
        check.see(row)
    check.see_head(rows[-1]["hash"], 6)
    assert check.problems()[0].startswith("rows 4 to 6 cut off the end")


def test_a_lost_chain_is_told_in_few_words():
    """Thousands of problems do not become thousands of sentences."""
    rows = chain(300)
    for row in rows:
        row["actor"] = "eve"
    problems = verify_chain(rows, key_of)
    assert len(problems) == 51
    assert problems[-1] == "and 250 more"


def test_rows_without_a_key_are_pointed_at():
    """Nothing in the rows proves those: whoever checks learns how far they go."""
    check = ChainCheck(key_of)
    for row in chain(5, keyless=3):
        check.see(row)
    assert (check.keyless_to, check.problems()) == (3, [])


def test_what_postgres_gives_back_hashes_like_what_was_written():
    """Zones, buffer types and text forms of the same facts do not matter: text is written, types are read."""
    command, row = uuid4(), {"at": AT, "args_hash": b"\xff", "seq": 1}
    zoned = AT.astimezone(timezone(timedelta(hours=-5)))
    typed = {"id": command, "at": zoned, "args_hash": memoryview(b"\xff"), "seq": 1, "hash": b"x", "previous": b"y"}
    written = {"seq": 1, "args_hash": "ff", "at": AT.isoformat(), "id": str(command)}
    assert chain_hash(None, typed, KEY) == chain_hash(None, written, KEY)
    assert chain_hash(None, row, KEY) != chain_hash(b"\x01" * 32, row, KEY)
    assert chain_hash(None, row, KEY) != chain_hash(None, row, b"other")


def test_rows_of_earlier_versions_keep_their_hash():
    """Empty columns that came later are no content, so that a row from before them hashes as it did."""
    row = {"session_id": SESSION, "seq": 1, "actor": "ann"}
    later = dict.fromkeys(("target", "task", "token_id", "confirmed_by", "key_id"))
    assert chain_hash(None, row, None) == chain_hash(None, row | later, None)


def test_the_hash_of_arguments_never_changes():
    """A command that was asked before an upgrade is known again after it."""
    known = "ed4255fd70ad71f0e46b1a4056afb4e415760cccc2771f3548e040d2e3d12ab4"
    assert args_hash('["pause_session"]').hex() == known
