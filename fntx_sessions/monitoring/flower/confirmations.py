"""What takes two people, and waits for the second: newest first, those that were settled after them."""

from fntx_sessions.lifecycle.confirming.arguments import Confirmation, ConfirmationsQuery
from fntx_sessions.lifecycle.confirming.reading import list_confirmations
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.monitoring.flower.offers import second_offers
from fntx_sessions.monitoring.flower.page import Asked, Draw, Page
from fntx_sessions.monitoring.flower.views import Parts


class Confirmations(Page):
    """Commands that wait for a second person, and the last that did."""

    template = "confirmations.html"
    tab = "health"
    whole_desk = True

    def title(self, asked: Asked) -> str:
        """Return the page's title."""
        _ = asked
        return "Two people"

    def draw(self, desk: Desk, asked: Asked, draw: Draw) -> Parts:
        """Draw both lists."""
        query = ConfirmationsQuery(everything=True, limit=min(desk.settings.pages_rows, 1000))
        found = list_confirmations(desk.engine, query)
        offers = {one.command_id: second_offers(asked.viewer, one) for one in found}
        facts = {"four_eyes": desk.settings.four_eyes, "offers": offers}
        waiting, over = _parted(found)
        return {
            "confirmations-waiting": draw.part("confirmations_waiting.html", waiting=waiting, **facts),
            "confirmations-over": draw.part("confirmations_over.html", over=over),
        }


def _parted(found: list[Confirmation]) -> tuple[list[Confirmation], list[Confirmation]]:
    waiting = [one for one in found if one.state == "waiting"]
    return waiting, [one for one in found if one.state != "waiting"]
