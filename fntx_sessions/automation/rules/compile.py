"""From the JSON of a session's config to rules that can be evaluated."""

from fntx_sessions.automation.rules.model import RuleSets
from fntx_sessions.settings import Settings


def compile_rules(text: str, settings: Settings) -> RuleSets:
    """Return the four rule sets of a config given as JSON text; raises InvalidArgument with the path to the field.

    For the edge and for people who try rules out. What is stored goes through `compile_stored`.
    """
    raise NotImplementedError


def compile_stored(text: str, settings: Settings) -> RuleSets:
    """Return the rule sets of a stored config, never raising: a rule that cannot be used reads as unknown and says why.

    One broken rule, such as that of a plug-in that was removed, so does not silence the stop rules beside it.
    """
    raise NotImplementedError
