"""accept_differences, start to end: see what the ledger is short of the broker, book and accept it in one commit."""

from redis import Redis
from sqlalchemy import Engine

from fntx_sessions.exceptions import NotFound
from fntx_sessions.lifecycle import commands, machine
from fntx_sessions.lifecycle.change import Ask, Outcome
from fntx_sessions.lifecycle.recovery.booking import Gap, gaps
from fntx_sessions.lifecycle.recovery.facts import read_facts
from fntx_sessions.settings import Settings
from fntx_sessions.trading.brokers import get_broker


def accept(engine: Engine, _redis: Redis, _settings: Settings, ask: Ask) -> Outcome:
    """Accept what a recovery found to differ: the ledger is booked up to the broker, whose word is what is held.

    What is to be booked stays right while orders fill: a fill moves both books alike. Raises Busy where they do not
    hold still to be read.
    """
    return machine.run(engine, ask, commands.accept(_missing(engine, ask)), relaying=True)


def _missing(engine: Engine, ask: Ask) -> list[Gap]:
    try:
        facts = read_facts(engine, ask.session_id)
    except NotFound:
        return []  # the machine says so, and keeps that it was asked
    if not facts.recovery_data.get("differences"):
        return []
    return gaps(engine, get_broker(facts.broker, engine), ask.session_id)
