"""What the two roles of the database may do, table by table; grants, doctor and docs are made from this.

`fntx_app` is what workers, beat, Flower and the command line use; `fntx_read` what only looks. Neither owns anything,
so neither can change a table, disable a trigger or empty one. A table that is not named here gets what `_USUAL` says.
"""

from dataclasses import dataclass

APP, READ = "fntx_app", "fntx_read"
ROLES = (APP, READ)
# Every right a table may have given; nobody needs the others.
RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


@dataclass(frozen=True, slots=True)
class Rights:
    """What each role may do to one table."""

    app: frozenset[str]
    read: frozenset[str] = frozenset({"SELECT"})

    def of(self, role: str) -> frozenset[str]:
        """Return the rights of one of `ROLES`."""
        return self.app if role == APP else self.read


def _may(*rights: str, read: bool = True) -> Rights:
    return Rights(frozenset(rights), frozenset({"SELECT"} if read else ()))


_USUAL = _may("SELECT", "INSERT", "UPDATE", "DELETE")
_ADDED = _may("SELECT", "INSERT")
_KEPT = _may("SELECT", "INSERT", "UPDATE")
# A partition is read and written through its whole, whose rights then count.
_PARTITION = _may(read=False)

SEQUENCE = {APP: frozenset({"USAGE"}), READ: frozenset[str]()}
# Of the database, for the house: every save goes through a temporary table. Everybody has it, where nobody took it.
TEMPORARY = "TEMPORARY"
# Of the schema, for everybody: what is in it may be found, nothing put there.
SCHEMA = frozenset({"USAGE"})
FORGET_FUNCTION = "fntx_forget_transitions"

# What may not be done to a table that others may. Whose rows may go is not theirs to change.
DECLARED: dict[str, Rights] = {
    "alembic_version": _may("SELECT"),
    # Nobody denies or changes what was done: rows of transitions go by `fntx_forget_transitions`, of the audit never.
    "audit": _ADDED,
    "transitions": _ADDED,
    "audit_anchors": _ADDED,
    "audit_key": _ADDED,
    "template_versions": _ADDED,
    # What was revoked stays so until nothing it refuses is good any more: the guard of its rows.
    "revoked_tokens": _may("SELECT", "INSERT", "DELETE"),
    "desk_chain": _may("SELECT", "UPDATE"),
    "owed_deeds": _may("SELECT", "INSERT", "DELETE"),
    "desk_auth": _KEPT,
    "sessions": _KEPT,
    "session_work": _KEPT,
    "session_keys": _KEPT,
    "templates": _KEPT,
    # Money: what was booked is not booked otherwise afterwards.
    "accounts": _ADDED,
    "account_days": _KEPT,
    "session_days": _KEPT,
    "paper_accounts": _KEPT,
    "fills": _may("SELECT", "INSERT", "DELETE"),
    "samples": _may("SELECT", "INSERT", "DELETE"),
    "paper_fills": _may("SELECT", "INSERT", "DELETE"),
    "paper_rolls": _may("SELECT", "INSERT", "DELETE"),
    "halts": _KEPT,
    # What agents may know is no reader's, sealed or not.
    "credentials": _may("SELECT", "INSERT", "UPDATE", "DELETE", read=False),
}


def declared(table: str, *, partition: bool = False) -> Rights:
    """Return what the roles may do to a table; `partition`: to one that is part of another."""
    return _PARTITION if partition else DECLARED.get(table, _USUAL)


def function(name: str) -> frozenset[str]:
    """Return what the house, and nobody else, may do with a function that acts as its owner."""
    return frozenset({"EXECUTE"} if name == FORGET_FUNCTION else ())


def usual() -> Rights:
    """Return what a table gets that nothing is said about."""
    return _USUAL
