"""From rules and facts to a verdict: what is to be done, and why, or why not. Pure."""

from fntx_sessions.automation.rules.model import Facts, Memory, RuleSets, Verdict
from fntx_sessions.schemas import Hold
from fntx_sessions.settings import Settings


def evaluate(
    rules: RuleSets, facts: Facts, memory: Memory, settings: Settings, *, holds: frozenset[Hold], positions: bool
) -> Verdict:
    """Return what a session's rules ask for at `facts.now`.

    holds: why it is paused. positions: some are open, so that stop rules are looked at in SUSPENDED and ERROR too.
    """
    raise NotImplementedError
