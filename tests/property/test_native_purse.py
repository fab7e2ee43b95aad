"""Whatever circuits do, a purse carries no more than it bears, and whoever signs goes on, with nothing lost or left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.native.circuits import Joined, RelayInMemory, settle
from tests.unit.native.still import World
from towpath._native.purse import Purse

KIB = 1024
MIB = 1024 * KIB
STEP, ALLOWED = 256 * KIB, 700 * KIB
MOST = 5

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.just(0), st.just(0)),
        st.tuples(st.just("send"), st.integers(0, MOST), st.integers(1, MIB)),
        st.tuples(st.just("grant"), st.integers(0, MOST), st.integers(1, MIB)),
        st.tuples(st.sampled_from(["finish", "reset", "refuse"]), st.integers(0, MOST), st.just(0)),
        st.tuples(st.just("sign"), st.integers(0, 1), st.integers(0, MIB)),
        st.tuples(st.just("bill"), st.integers(0, 2), st.just(0)),
    ),
    max_size=40,
)


@dataclass
class _Circuit:
    joined: Joined
    number: int
    sent: bytearray = field(default_factory=bytearray)
    finished: bool = False
    over: bool = False


class _Account:
    """A purse, and what it was last told."""

    def __init__(self, world: World) -> None:
        self.asked = 0
        self.purse = Purse(world.reactor, self._ask)
        self.ceiling = 0
        self.sign(0)

    def _ask(self) -> None:
        self.asked += 1

    def sign(self, signed: int) -> None:
        """It signed for so many bytes, and no more than were carried."""
        signed = min(max(signed, self.purse.signed), self.purse.carried)
        self.ceiling = signed + ALLOWED
        self.purse.allow(signed, signed + STEP, self.ceiling)


@settings(max_examples=60, deadline=None)
@given(STEPS)
@example([("bill", 1, 0), ("join", 0, 0), *[("send", 0, MIB)] * 4, ("bill", 2, 0)])
@example([("bill", 1, 0), *[("join", 0, 0)] * 4, ("send", 3, MIB), ("finish", 3, 0), ("reset", 0, 0)])
def test_a_purse_bears_so_much_and_whoever_signs_goes_on(steps: list[tuple[str, int, int]]) -> None:
    with World() as world:
        relay = RelayInMemory(world)
        target, dialer = relay.target(), relay.peer()
        accounts = [_Account(world), _Account(world)]
        circuits: list[_Circuit] = []
        for what, which, n in steps:
            if what == "join" and len(circuits) <= MOST:
                circuits.append(_Circuit(relay.join(dialer, target), len(circuits)))
                if len(circuits) % 2:
                    # Its receiver says nothing any more that would wake who waits.
                    circuits[-1].joined.far.grant(12 * MIB)
            elif what == "sign":
                accounts[which].sign(accounts[which].purse.signed + n)
            elif what == "bill":
                relay.service.bill(dialer.peer_id, accounts[which - 1].purse if which else None)
            elif which < len(circuits) and not circuits[which].over:
                _act(circuits[which], what, n)
            settle(dialer, target, dialer)
            for account in accounts:
                assert account.purse.carried <= account.ceiling
                # Whoever can send nothing more was asked for a signature.
                assert not account.purse.short or account.asked
        _until_all_went_on(accounts, circuits, lambda: settle(dialer, target))
        for circuit in circuits:
            if circuit.over:
                continue
            assert bytes(circuit.joined.far.received) == bytes(circuit.sent)
            assert circuit.joined.far.fin == circuit.finished
            assert circuit.finished or circuit.joined.near.credit > 0
            circuit.joined.near.reset()
            settle(dialer, target)
        assert not relay.service.circuits
        assert not any(account.purse.short for account in accounts)
        assert world.reactor.held == 0
        assert not dialer.violations
        assert not target.violations
        _is_borne_exactly(
            relay, accounts[0], lambda: settle(target, dialer), relay.join(dialer, target), dialer.peer_id
        )


def _act(circuit: _Circuit, what: str, n: int) -> None:
    near, far = circuit.joined.near, circuit.joined.far
    if what == "send" and not circuit.finished:
        data = bytes([circuit.number + 1]) * min(n, near.credit)
        if data:
            circuit.sent += data
            near.send(data)
    elif what == "grant":
        far.grant(n)
    elif what == "finish" and not circuit.finished:
        circuit.finished = True
        near.finish()
    elif what == "reset":
        circuit.over = True
        near.reset()
    elif what == "refuse":
        circuit.over = True
        far.reset()


def _until_all_went_on(accounts: list[_Account], circuits: list[_Circuit], settled: Callable[[], None]) -> None:
    for circuit in circuits:
        if not circuit.over and circuit.number % 2:
            circuit.joined.far.grant(8 * MIB)
    settled()
    for _ in range(40):
        for account in accounts:
            account.sign(account.purse.carried)
        settled()


def _is_borne_exactly(
    relay: RelayInMemory, account: _Account, settled: Callable[[], None], joined: Joined, peer_id: bytes
) -> None:
    """With all that was granted before over and done, one circuit gets what is borne and no byte more."""
    relay.service.bill(peer_id, account.purse)
    account.sign(account.purse.carried)
    joined.far.grant(8 * MIB)
    settled()
    poured = 0
    while joined.near.credit:
        poured += joined.near.credit
        joined.near.send(bytes(joined.near.credit))
        settled()
    assert poured == ALLOWED == len(joined.far.received)
