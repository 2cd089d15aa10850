"""Pause, resume or stop many sessions: asked once, done in waves, one command a session, whoever dies in between.

A run and its items live in Postgres. Each item's command has an id that follows from the run's and the session's, so
that it is done once however many ask for it, and is asked in the name and with the roles of who asked for the run.
"""

from fntx_sessions.automation.bulk.matching import preview
from fntx_sessions.automation.bulk.request import BulkArguments, BulkRequest, Item, Report, Selector
from fntx_sessions.automation.bulk.runs import begin, cancel, forget_old, give_up, recent, report, resume
from fntx_sessions.automation.bulk.waves import advance, advance_due

__all__ = [
    "BulkArguments",
    "BulkRequest",
    "Item",
    "Report",
    "Selector",
    "advance",
    "advance_due",
    "begin",
    "cancel",
    "forget_old",
    "give_up",
    "preview",
    "recent",
    "report",
    "resume",
]
