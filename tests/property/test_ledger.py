"""The ledger: what one earns another spent, and nothing but signatures makes a credit."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from towpath.credits.earned import Balance, Paid, PaidToUs
from towpath.credits.escrow import Escrow, Promise
from towpath.credits.free_tier import Tier
from towpath.credits.policy import LEAST, Asked, should_accept_circuit
from towpath.credits.receipts import DAY_S, Receipt, Signed, day_of
from towpath.credits.senders import Senders
from towpath.credits.weights import LEAST_WEIGHT, MOST_WEIGHT, Sending, weights

RELAY = bytes(38)
PAYERS = [bytes([n]) * 32 for n in range(3)]
NOW = 20_000 * DAY_S + 43_200.0
MIB = 1 << 20


class LedgerMachine(RuleBasedStateMachine):
    """Payers who sign more and more, a network that repeats and mixes up, and a relay that crashes and whose clock is
    set; `disk` is what the relay wrote, whole changes at a time.
    """

    @initialize()
    def start(self) -> None:
        self.now = NOW
        self.wire: list[Receipt] = []
        self.signed: dict[tuple[bytes, int], tuple[int, int]] = {}
        self.seqs: defaultdict[bytes, int] = defaultdict(int)
        self.rows: dict[tuple[bytes, int], Paid] = {}
        self.days: dict[int, tuple[int, int]] = {}
        self.floor = 0
        self.earned_before = 0
        self.restart()

    @rule()
    def restart(self) -> None:
        self.book, self.balance = PaidToUs(RELAY), Balance()
        self.book.floor = self.floor
        for (payer, day), row in self.rows.items():
            self.book.load(payer, day, row)
        self.balance.days.update(self.days)
        self._write(self.book.drop_old(self.now))

    @rule(payer=st.sampled_from(PAYERS), n=st.integers(0, 1 << 30), back=st.integers(-1, 3), skip=st.integers(1, 1000))
    def sign(self, payer: bytes, n: int, back: int, skip: int) -> None:
        day = day_of(NOW) - back
        _, cum = self.signed.get((payer, day), (0, 0))
        self.seqs[payer] += skip
        self.signed[payer, day] = (self.seqs[payer], cum + n)
        self.wire.append(Receipt(1, RELAY, payer, day, self.seqs[payer], cum + n, 0, 0))

    @precondition(lambda self: self.wire)
    @rule(data=st.data(), countersigned=st.booleans())
    def receive(self, data: st.DataObject, countersigned: bool) -> None:
        self.take(data.draw(st.sampled_from(self.wire)), countersigned)

    def take(self, receipt: Receipt, countersigned: bool) -> None:
        signed = Signed(receipt, b"raw", b"dual" if countersigned else None)
        taken = self.book.take(signed, self.now)
        if taken is None:
            return
        new, dropped = taken
        if new:
            self.days[receipt.day] = self.balance.add(receipt.day, earned=new)
        row = self.book.get(receipt.payer, receipt.day)
        assert row is not None
        self.rows[receipt.payer, receipt.day] = row
        self._write(dropped)

    @rule(step=st.one_of(st.floats(0, 3600), st.floats(-400 * DAY_S, 400 * DAY_S)))
    def set_clock(self, step: float) -> None:
        self.now = max(0.0, self.now + step)

    @rule()
    def right_clock(self) -> None:
        self.now = NOW

    def _write(self, dropped: list[tuple[bytes, int]]) -> None:
        for key in dropped:
            self.rows.pop(key, None)
        self.floor = self.book.floor

    @invariant()
    def nothing_is_earned_that_nobody_signed(self) -> None:
        if not hasattr(self, "days"):
            return
        for day in {day for _, day in self.signed} | set(self.days):
            earned = self.days.get(day, (0, 0))[0]
            assert earned <= sum(cum for (_, of), (_, cum) in self.signed.items() if of == day)
        assert self.balance.ever()[0] == sum(row[0] for row in self.days.values())
        assert self.balance.earned(self.now) <= self.balance.ever()[0]

    @invariant()
    def what_was_earned_is_not_lost(self) -> None:
        if hasattr(self, "days"):
            earned = sum(row[0] for row in self.days.values())
            assert earned >= self.earned_before
            self.earned_before = earned

    def teardown(self) -> None:
        if not hasattr(self, "days") or self.floor:
            return
        # Everything arrives in the end: what was earned is what was spent.
        self.now = NOW
        for receipt in self.wire:
            self.take(receipt, False)
        open_days = range(day_of(NOW) - 2, day_of(NOW) + 2)
        for day in open_days:
            spent = sum(cum for (_, of), (_, cum) in self.signed.items() if of == day)
            assert self.days.get(day, (0, 0))[0] == spent


LedgerMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestLedger = LedgerMachine.TestCase


@given(st.lists(st.tuples(st.sampled_from(PAYERS), st.integers(0, 1 << 30)), max_size=30), st.randoms())
def test_any_order_and_any_repetition_of_receipts_earns_the_same(
    sent: list[tuple[bytes, int]],
    rng: st.randoms,  # type: ignore[valid-type]
) -> None:
    totals: defaultdict[bytes, int] = defaultdict(int)
    receipts = []
    for seq, (payer, n) in enumerate(sent, 1):
        totals[payer] += n
        receipts.append(Receipt(1, RELAY, payer, day_of(NOW), seq, totals[payer], 0, 0))
    mixed = receipts * 2
    rng.shuffle(mixed)  # type: ignore[attr-defined]
    book, earned = PaidToUs(RELAY), 0
    for receipt in mixed:
        taken = book.take(Signed(receipt, b"raw"), NOW)
        earned += 0 if taken is None else taken[0]
    assert earned == sum(totals.values())
    assert all(book.total(payer) == totals[payer] for payer in PAYERS)


# --- senders ---------------------------------------------------------------------------------

KEYS = st.tuples(st.sampled_from([None, *PAYERS]), st.sampled_from([b"\x0a\x00\x00", b"\x0a\x00\x01", bytes(7), b""]))


@given(st.lists(st.tuples(KEYS, st.integers(0, 1 << 32), st.integers(0, 1 << 31), st.floats(0, 1e6)), max_size=40))
def test_every_byte_that_was_carried_is_counted_once(
    uses: list[tuple[tuple[bytes | None, bytes], int, int, float]],
) -> None:
    senders, tier, now = Senders(), Tier(), NOW
    carried: defaultdict[bytes, int] = defaultdict(int)
    for (account, prefix), n, credit, gap in uses:
        now += gap
        free = min((senders.free_left(key, tier, now) for key in (account, prefix) if key), default=0)
        charge, _ = senders.charge(account, prefix, n, credit, tier, now)
        assert sum(charge) == n
        assert charge.credit == min(n, credit)
        assert charge.free == min(n - charge.credit, free)
        for key in (account, prefix):
            if key:
                carried[key] += n
    for who, n in carried.items():
        known = senders.get(who)
        assert known is not None
        assert known.carried == n
        again = Senders()
        again.load(who, known.row())
        assert again.free_left(who, tier, now) == senders.free_left(who, tier, now)


@given(st.integers(1, 100), st.integers(1, 20))
def test_a_network_is_served_as_one_however_many_accounts_it_invents(identities: int, rounds: int) -> None:
    senders, tier, served = Senders(), Tier(100 * MIB, 0.0), 0
    prefix = b"\xc0\x00\x02"
    for n in range(identities * rounds):
        account = n.to_bytes(32, "big")
        left = min(senders.free_left(account, tier, NOW), senders.free_left(prefix, tier, NOW))
        charge, _ = senders.charge(account, prefix, left, 0, tier, NOW)
        served += charge.free
    assert served == 100 * MIB


# --- promises --------------------------------------------------------------------------------


@given(
    st.integers(0, 1 << 34),
    st.integers(0, 1 << 32),
    st.lists(st.tuples(st.sampled_from(["open", "use", "end"]), st.integers(0, 1 << 30)), max_size=60),
)
def test_what_is_promised_is_there_whatever_is_opened_beside_it(
    credit: int, size: int, steps: list[tuple[str, int]]
) -> None:
    """A sender opens, uses and ends circuits as it likes: it never gets more than it has, nor less than it was told."""
    account, prefix = PAYERS[0], b"\xc0\x00\x02"
    escrow, senders, tier = Escrow(), Senders(), Tier(size, 0.0)
    had, used = credit, 0
    circuits: list[list[int]] = []
    promises: list[Promise] = []
    for step, n in steps:
        if step == "open":
            asked = Asked(
                account,
                prefix,
                senders.free_left(prefix, tier, NOW) - escrow.free(prefix),
                senders.free_left(account, tier, NOW) - escrow.free(account),
                had,
                escrow.credit(account),
                enforce="always",
                tier=tier,
            )
            decision = should_accept_circuit(asked, NOW)
            if decision.accept:
                assert decision.limit_data is not None
                circuits.append([decision.limit_data, 0])
                promises.append(escrow.promise(account, prefix, decision.limit_data, asked.credit))
        elif circuits and step == "use":
            at = n % len(circuits)
            n = min(n, circuits[at][0] - circuits[at][1])
            charge, _ = senders.charge(account, prefix, n, had, tier, NOW)
            assert charge.beyond == 0, "what was promised is paid for"
            had -= charge.credit
            used += n
            circuits[at][1] += n
            escrow.use(promises[at], circuits[at][1])
        elif circuits:
            at = n % len(circuits)
            escrow.end(promises.pop(at))
            circuits.pop(at)
    assert used <= credit + size
    for promise in promises:
        escrow.end(promise)
    assert not escrow


def test_the_smallest_circuit_is_a_mebibyte() -> None:
    asked = Asked(PAYERS[0], b"\xc0\x00\x02", LEAST - 1, enforce="always")
    assert not should_accept_circuit(asked, NOW).accept
    assert should_accept_circuit(asked._replace(free_left_prefix=LEAST), NOW).limit_data == LEAST


# --- weights ---------------------------------------------------------------------------------

MANY_OF_ONE = [
    Sending(bytes((n,)), n < 3) for n, circuits in enumerate((16, 17, 18, 250, 2, 3, 4, 5)) for _ in range(circuits)
]

SENDING = st.builds(Sending, st.binary(min_size=1, max_size=1), st.booleans())


@given(st.lists(SENDING, min_size=1, max_size=200))
@example(MANY_OF_ONE)
def test_who_pays_comes_first_and_nobody_starves(sending: list[Sending]) -> None:
    given_out = weights(sending)
    of_head: defaultdict[Sending, float] = defaultdict(float)
    for one, weight in zip(sending, given_out, strict=True):
        assert LEAST_WEIGHT <= weight <= MOST_WEIGHT
        of_head[one] += weight
    paying = [weight for one, weight in of_head.items() if one.paying]
    free = [weight for one, weight in of_head.items() if not one.paying]
    if paying and free:
        assert min(paying) >= 2 * max(free) - 1e-9
        share = sum(free) / (sum(free) + sum(paying))
        assert share >= 0.2 - 1e-9 or max(free) >= min(paying) / 2 - 1e-9
