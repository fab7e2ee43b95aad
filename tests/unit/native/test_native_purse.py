"""A purse holds a sender to what it may send before it signs, over all its circuits, and lets it go on when it did."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.native.circuits import Joined, RelayInMemory, settle
from tests.unit.native.still import World
from towpath._native.budget import Budget
from towpath._native.purse import Purse

KIB = 1024
MIB = 1024 * KIB


class Billed:
    """A relay, a dialer with a purse, and how often a signature was asked for."""

    def __init__(self, world: World) -> None:
        self.relay = RelayInMemory(world)
        self.world = world
        self.target = self.relay.target()
        self.dialer = self.relay.peer()
        self.asked = 0
        self.purse = Purse(world.reactor, self._ask)
        self.sent = 0
        self.arrived = 0

    def _ask(self) -> None:
        self.asked += 1

    def bill(self, purse: Purse | None) -> None:
        self.relay.service.bill(self.dialer.peer_id, purse)

    def join(self) -> Joined:
        joined = self.relay.join(self.dialer, self.target)
        joined.far.grant(64 * MIB)
        settle(self.target, self.dialer)
        return joined

    def pour(self, joined: Joined, most: int = 64 * MIB) -> int:
        """Sends whatever the sender is granted; how much that was."""
        poured = 0
        while poured < most and joined.near.credit:
            piece = min(joined.near.credit, most - poured)
            joined.near.send(bytes(piece))
            poured += piece
            settle(self.dialer, self.target)
            self.arrived += len(joined.far.received)
            joined.far.received.clear()
        self.sent += poured
        self.world.run()
        return poured


@pytest.fixture
def billed() -> Iterator[Billed]:
    with World() as world:
        yield Billed(world)


def test_a_sender_that_never_signs_gets_no_further_than_the_ceiling(billed: Billed) -> None:
    billed.purse.allow(0, MIB, 4 * MIB)
    billed.bill(billed.purse)
    assert billed.pour(billed.join()) == 4 * MIB == billed.purse.carried
    assert billed.asked == 1
    assert billed.purse.short


def test_new_circuits_bring_such_a_sender_no_further(billed: Billed) -> None:
    billed.purse.allow(0, MIB, 4 * MIB)
    billed.bill(billed.purse)
    billed.pour(billed.join())
    for _ in range(3):
        circuit = billed.join()
        assert 0 < billed.pour(circuit) <= 256 * KIB
        assert billed.purse.carried == 4 * MIB == billed.arrived
        circuit.near.reset()
        settle(billed.dialer, billed.target)
    assert billed.world.reactor.held == 0


def test_what_came_beyond_the_ceiling_goes_on_behind_a_signature_in_its_order(billed: Billed) -> None:
    billed.purse.allow(0, 100 * KIB, 300 * KIB)
    billed.bill(billed.purse)
    circuits = [billed.join() for _ in range(3)]
    sent = [bytes([n]) * 100 * KIB + bytes([n + 100]) * 99 * KIB for n in range(3)]
    for circuit, data in zip(circuits, sent, strict=True):
        circuit.near.send(data[: 60 * KIB])
        circuit.near.send(data[60 * KIB :])
        circuit.near.finish()
        settle(billed.dialer, billed.target)
    assert sum(len(circuit.far.received) for circuit in circuits) == 300 * KIB == billed.purse.carried
    assert [circuit.far.fin for circuit in circuits] == [True, False, False]
    assert billed.world.reactor.held > 0
    billed.purse.allow(300 * KIB, 400 * KIB, 550 * KIB)
    settle(billed.target)
    assert sum(len(circuit.far.received) for circuit in circuits) == 550 * KIB
    billed.purse.allow(550 * KIB, 650 * KIB, 800 * KIB)
    settle(billed.target)
    assert [bytes(circuit.far.received) for circuit in circuits] == sent
    assert all(circuit.far.fin for circuit in circuits)
    assert billed.purse.carried == 597 * KIB
    assert not billed.purse.short
    assert billed.world.reactor.held == 0


def test_what_came_beyond_the_ceiling_goes_on_when_nobody_has_to_sign_any_more(billed: Billed) -> None:
    billed.purse.allow(0, 100 * KIB, 100 * KIB)
    billed.bill(billed.purse)
    circuit = billed.join()
    circuit.near.send(bytes(200 * KIB))
    settle(billed.dialer, billed.target)
    assert len(circuit.far.received) == 100 * KIB
    billed.bill(None)
    settle(billed.target)
    assert len(circuit.far.received) == 200 * KIB
    assert billed.purse.carried == 100 * KIB
    assert billed.world.reactor.held == 0


def test_windows_add_up_to_the_ceiling_and_those_that_circuits_begin_with(billed: Billed) -> None:
    """A target that opens its window again and again does not have its dialer granted more each time."""
    billed.purse.allow(0, MIB, MIB)
    billed.bill(billed.purse)
    circuits = [billed.join() for _ in range(5)]
    for _ in range(50):
        for circuit in circuits:
            circuit.far.grant(MIB)
        settle(billed.target, billed.dialer)
    assert sum(circuit.near.credit for circuit in circuits) <= MIB + 4 * 256 * KIB


def test_a_signature_is_asked_for_once_a_step(billed: Billed) -> None:
    billed.purse.allow(0, MIB, 4 * MIB)
    billed.bill(billed.purse)
    circuit = billed.join()
    for asked in range(1, 9):
        billed.pour(circuit, MIB + 512 * KIB)
        assert billed.asked == asked
        carried = billed.purse.carried
        assert carried == billed.sent
        billed.purse.allow(carried, carried + MIB, carried + 4 * MIB)


def test_a_signature_lets_all_go_on_that_waited(billed: Billed) -> None:
    billed.purse.allow(0, MIB, 4 * MIB)
    billed.bill(billed.purse)
    first, second = billed.join(), billed.join()
    billed.pour(first)
    billed.pour(second)
    assert first.near.credit == second.near.credit == 0
    billed.purse.allow(billed.sent, billed.sent + MIB, billed.sent + 4 * MIB)
    settle(billed.dialer)
    assert first.near.credit > 0
    assert second.near.credit > 0
    assert first.near.credit + second.near.credit <= 4 * MIB
    assert not billed.purse.short


def test_idle_circuits_do_not_keep_one_from_going_on(billed: Billed) -> None:
    billed.purse.allow(0, MIB, MIB)
    billed.bill(billed.purse)
    idle = [billed.join() for _ in range(5)]
    busy = billed.join()
    for _ in range(20):
        assert billed.pour(busy) > 0
        assert billed.asked >= 1
        carried = billed.purse.carried
        billed.purse.allow(carried, carried + MIB, carried + MIB)
        settle(billed.dialer)
    assert billed.purse.carried == billed.sent
    assert all(circuit.near.credit for circuit in idle)


def test_beside_idle_circuits_one_sends_a_whole_step_before_a_signature_is_asked_for(billed: Billed) -> None:
    billed.purse.allow(0, MIB, 4 * MIB)
    billed.bill(billed.purse)
    idle = [billed.join() for _ in range(20)]
    busy = billed.join()
    granted = sum(circuit.near.credit for circuit in idle)
    assert granted > 4 * MIB
    for signed in range(0, 20 * MIB, MIB):
        assert billed.pour(busy, MIB - 1) == MIB - 1
        assert billed.asked == signed // MIB
        assert billed.pour(busy, 1) == 1
        assert billed.asked == 1 + signed // MIB
        billed.purse.allow(signed + MIB, signed + 2 * MIB, signed + 5 * MIB)
    # What was granted beside them is less than it began with.
    assert busy.near.credit < 256 * KIB
    assert granted == sum(circuit.near.credit for circuit in idle)
    assert not billed.purse.short


def test_who_waits_goes_on_when_it_is_billed_to_a_purse_that_bears_more(billed: Billed) -> None:
    billed.purse.allow(0, MIB, MIB)
    billed.bill(billed.purse)
    circuit = billed.join()
    billed.pour(circuit)
    assert circuit.near.credit == 0
    assert billed.purse.short
    other = Purse(billed.world.reactor, list)
    other.allow(0, MIB, 4 * MIB)
    billed.bill(other)
    settle(billed.dialer)
    assert billed.pour(circuit) == 4 * MIB == other.carried
    assert billed.purse.carried == MIB
    assert not billed.purse.short


def test_what_an_ended_circuit_was_granted_and_did_not_send_is_free_again(billed: Billed) -> None:
    billed.purse.allow(0, 8 * MIB, 2 * MIB)
    billed.bill(billed.purse)
    for _ in range(20):
        circuit = billed.join()
        billed.pour(circuit, 10 * KIB)
        circuit.near.reset()
        settle(billed.dialer, billed.target)
    assert billed.purse.carried == 200 * KIB
    assert billed.pour(billed.join()) == 2 * MIB - 200 * KIB


@pytest.mark.slow
def test_an_account_that_is_shown_late_pays_for_what_comes_from_then_on(billed: Billed) -> None:
    circuit = billed.join()
    billed.pour(circuit, 3 * MIB)
    billed.purse.allow(0, MIB, 4 * MIB)
    billed.bill(billed.purse)
    ahead = circuit.near.credit
    assert billed.pour(circuit) == max(ahead, 4 * MIB)
    assert billed.purse.carried == 4 * MIB


def test_who_owes_nothing_any_more_is_held_no_longer(billed: Billed) -> None:
    billed.purse.allow(0, MIB, 4 * MIB)
    billed.bill(billed.purse)
    circuit = billed.join()
    billed.pour(circuit)
    billed.bill(None)
    settle(billed.dialer)
    assert billed.pour(circuit, 8 * MIB) == 8 * MIB
    assert billed.purse.carried == 4 * MIB


def test_a_target_pays_for_what_it_sends(billed: Billed) -> None:
    billed.purse.allow(0, MIB, 4 * MIB)
    billed.relay.service.bill(billed.target.peer_id, billed.purse)
    circuit = billed.join()
    billed.pour(circuit, MIB)
    assert billed.purse.carried == 0
    circuit.far.send(bytes(100 * KIB))
    assert billed.purse.carried == 100 * KIB


def test_a_budget_that_deals_out_credit_asks_the_purse_as_well(billed: Billed) -> None:
    budget = Budget(billed.world.reactor)
    billed.relay.endpoint.set_budget(budget)
    budget.set_allowance(40 * MIB, 40 * MIB)
    billed.purse.allow(0, MIB, 4 * MIB)
    billed.bill(billed.purse)
    circuit = billed.join()
    for _ in range(400):
        billed.pour(circuit)
        billed.world.loop.tick()
        settle(billed.dialer)
    assert billed.purse.carried == 4 * MIB


def test_bytes_are_told_once(billed: Billed) -> None:
    circuit = billed.join()
    (native,) = billed.relay.service.circuits.values()
    billed.pour(circuit, 100 * KIB)
    circuit.far.send(bytes(7))
    assert native.take() == (100 * KIB, 7)
    assert native.take() == (0, 0)
    ended = []
    billed.relay.service.circuit_billed = lambda c: ended.append(c.take())
    billed.pour(circuit, 5)
    circuit.near.reset()
    settle(billed.dialer, billed.target)
    assert ended == [(5, 0)]
