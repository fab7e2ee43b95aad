"""Credit passes through a circuit: never more than the receiver granted, and never so little that both ends wait."""

from __future__ import annotations

from tests.unit.native.circuits import RelayInMemory, settle
from tests.unit.native.still import World

KIB = 1024


def test_a_transport_that_was_full_and_drained_does_not_leave_the_sender_without_credit() -> None:
    """Its last bytes went out while the queue was draining: nothing is parked whose turn would tell it to go on."""
    with World() as world:
        relay = RelayInMemory(world)
        target, dialer = relay.target(), relay.peer()
        neighbour, circuit = relay.join(dialer, target), relay.join(dialer, target)
        circuit.near.send(bytes(192 * KIB))
        neighbour.far.grant(1024 * KIB)
        settle(dialer, target)
        # The neighbour fills the transport, which then takes some, but not so much that it counts as drained.
        target.room = 0
        neighbour.near.send(bytes(320 * KIB))
        target.take(150 * KIB)
        circuit.far.grant(1024 * KIB)
        dialer.settle()
        circuit.near.send(bytes(circuit.near.credit))
        assert circuit.near.credit == 0
        target.take()
        settle(dialer, target)
        assert world.reactor.held == 0
        assert circuit.near.credit > 0
