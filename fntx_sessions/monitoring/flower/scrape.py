"""Flower's `/metrics`, which it leaves open to everybody: for this machine, and the networks a setting names."""

from ipaddress import ip_address, ip_network
from typing import Any

import tornado.web
from flower.views.monitor import Metrics

from fntx_sessions.exceptions import InvalidArgument

_FIX = "Give networks as CIDR, such as 10.0.0.0/8, with commas between."


class GuardedMetrics(Metrics):  # type: ignore[misc]  # Flower has no types
    """Shows the figures to whoever may read them."""

    def initialize(self, networks: list[Any]) -> None:
        """Take the networks, by the rule's arguments."""
        self.networks = networks

    def prepare(self) -> None:
        """Refuse everybody else; raises HTTPError 403."""
        # Whoever reaches a socket in a folder is this machine's, a proxy for one.
        by_socket = bool(self.application.options.unix_socket)
        if not by_socket and not self._may(self.request.remote_ip or ""):
            detail = "Figures are for this machine and the networks of FNTX_FLOWER_METRICS_FROM."
            raise tornado.web.HTTPError(403, detail)

    def _may(self, address: str) -> bool:
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return found.is_loopback or any(found in network for network in self.networks)


def networks(given: str) -> list[Any]:
    """Return the networks of the setting; raises InvalidArgument for one that is none."""
    try:
        return [ip_network(one.strip()) for one in given.split(",") if one.strip()]
    except ValueError as error:
        raise InvalidArgument("FNTX_FLOWER_METRICS_FROM", str(error), _FIX) from None
