"""An agent that runs in a service of its own: `python examples/agent_elsewhere.py SESSION_ID AGENT [TICK_S]`.

It decides something every TICK_S (1 s) while its session is active, and counts what it decided. Killed at any moment
and started again, it goes on counting from what it reported last. FNTX_REDIS_URL and FNTX_TOKEN say where the desk is
and who asks; on the machine of an embedded stack neither is needed.
"""

import signal
import sys
import threading
import time
from typing import Any

from fntx_sessions import AgentClient
from fntx_sessions.agent_client import AgentEvent, Joined


class Planner:
    """Decides nothing much, and reports it."""

    def __init__(self, client: AgentClient) -> None:
        self.client = client
        self.active = False
        self.decided = 0

    def joined(self, joined: Joined) -> None:
        """Begin where the session, and this agent's own memory, stand."""
        self.active = joined.status == "active"
        self.decided = (joined.internal_state or {}).get("decided", 0)
        say("joined", joined.status, "epoch", joined.epoch, "decided", self.decided)

    def told(self, event: AgentEvent) -> None:
        """Follow the session."""
        if event.event == "session_recovered":
            self.joined(self.client.join())  # its memory was put back: this one's is another's future
        self.active = event.payload.get("to_status", "active" if self.active else "") == "active"
        say("told", event.event, event.id)

    def tick(self) -> None:
        """Decide, and report the decision together with the memory of it: both are written, or neither."""
        if not self.active:
            return
        began = time.perf_counter()
        # Counted first: what cannot be sent now is kept by the client and arrives later.
        self.decided += 1
        decision = {
            "decision_id": f"{self.client.agent}-{self.decided}",
            "timestamp": now(),
            "what": "hold",
            "latency_ms": (time.perf_counter() - began) * 1000,
        }
        memory: dict[str, Any] = {"internal_state": {"decided": self.decided}, "decisions_made": self.decided}
        self.client.report(state=memory, decisions=[decision])
        say("decided", self.decided)


def now() -> str:
    """Return the present moment as it is reported."""
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())


def say(*words: object) -> None:
    """Print a line at once."""
    print(*words, flush=True)


def main() -> None:
    """Take part until the session is closed or somebody ends this process."""
    session_id, agent, tick_s = [*sys.argv[1:], "1"][:3]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with AgentClient(session_id, agent) as client:
        planner = Planner(client)
        client.run(planner.told, on_joined=planner.joined, on_tick=planner.tick, tick_s=float(tick_s), stop=stop)
    say("ended")


if __name__ == "__main__":
    main()
