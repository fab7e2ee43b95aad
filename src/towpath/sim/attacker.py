"""What an attacker is to the simulator: somebody who enters a world and adds to it, and whose nodes may misbehave.

An attacker has no other powers than a real one: it runs as many nodes as it likes, on the networks that it has, and
says in their name what it likes. `World.add_user` and `World.add_relay` make them; a relay's `behaviour` and a user's
`signs` and `shown` are its to set; `World.shards` takes provider records from any prefix that it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from towpath.sim.pipe import Flow
    from towpath.sim.relays import Relay
    from towpath.sim.world import World

__all__ = ["Attacker", "Behaviour", "Dropper"]


class Behaviour(Protocol):
    """How a relay of an attacker differs from an honest one."""

    def carrying(self, relay: Relay, flow: Flow) -> None:
        """It has begun to carry a circuit."""


class Attacker(Protocol):
    """Enters a world before it runs; what it does later it puts into `world.engine`."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def enter(self, world: World) -> None:
        """Adds its nodes, and what they will do."""


class Dropper:
    """A relay that takes circuits and, from a moment on, cuts each of them after a few seconds. An example."""

    name = "dropper"

    def __init__(self, relays: int = 1, honest_s: float = 0.0, after_s: float = 2.0) -> None:
        self.relays = relays
        self.honest_s = honest_s
        self.after_s = after_s
        self.dropped = 0

    def enter(self, world: World) -> None:
        """Its relays stand in networks of their own, on servers, and are always there."""
        for _ in range(self.relays):
            relay = world.add_relay(world.networks.apart(world.engine.rng), mode="dedicated")
            relay.behaviour = self
            relay.start()

    def carrying(self, relay: Relay, flow: Flow) -> None:
        """See Behaviour."""
        world = relay.world
        if world.engine.now - world.begin >= self.honest_s:
            world.engine.after(self.after_s, self._cut, relay, flow)

    def _cut(self, relay: Relay, flow: Flow) -> None:
        if flow in relay.pipe.flows:
            self.dropped += 1
            relay.drop(flow)
            relay.world.circuits.cut(flow, silent=False)
