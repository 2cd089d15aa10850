"""Whether a checkpoint is sound where it is of record; one that is not is mended from a copy that is."""

from dataclasses import dataclass

import redis
from sqlalchemy import Engine

from fntx_sessions.exceptions import IntegrityError, NotFound
from fntx_sessions.settings import Settings
from fntx_sessions.state import checkpoint_rows as rows
from fntx_sessions.state.checkpoint_record import read_record
from fntx_sessions.state.loading import load
from fntx_sessions.state.tiers.base import Ref


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found. problem None: it is sound, as `read_from` holds it.

    mended: what was wrong with its record, where, and which copy it was written again from; None: nothing was.
    """

    problem: str | None
    read_from: str | None = None
    mended: str | None = None


def verify_checkpoint(engine: Engine, client: redis.Redis, settings: Settings, ref: Ref) -> Verdict:
    """Read a checkpoint whole where it is of record, and note whether it is sound.

    A damaged record is written again from a sound copy, with the event `state_repaired`; where none is left the
    checkpoint is marked, with the event `checkpoint_damaged`. Raises NotFound, Shredded, and Unavailable: then nothing
    was found out.
    """
    if ref.checkpoint_id is None:
        raise NotFound("checkpoint", "None", "Name one that `fntx checkpoints ID` lists.")
    try:
        row, _ = read_record(engine, settings, ref.checkpoint_id)
    except IntegrityError as error:
        return _mended(engine, client, settings, ref, str(error))
    rows.mark_sound(engine, ref.checkpoint_id)
    return Verdict(None, row["tier"])


def _mended(engine: Engine, client: redis.Redis, settings: Settings, ref: Ref, damage: str) -> Verdict:
    try:
        found = load(engine, client, settings, ref, suspect=True)
    except IntegrityError:
        return _damaged(engine, ref, damage)
    assert ref.checkpoint_id is not None  # noqa: S101 - asked for above
    try:
        row, _ = read_record(engine, settings, ref.checkpoint_id)
    except IntegrityError:
        return _damaged(engine, ref, f"{damage}; {found.tier} holds a sound copy, which was not written there")
    rows.mark_sound(engine, ref.checkpoint_id)
    told = f"was damaged in {row['tier']}, mended from {found.tier}: {damage}"
    return Verdict(None, found.tier, told)


def _damaged(engine: Engine, ref: Ref, problem: str) -> Verdict:
    assert ref.checkpoint_id is not None  # noqa: S101 - asked for above
    rows.mark_damaged(engine, ref.checkpoint_id, problem)
    return Verdict(problem)
