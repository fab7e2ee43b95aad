"""Receipts: what their signer may say survives, nothing else is taken; no loss or crash makes credit or fraud."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from fuzz.python.receipt import check, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.control_messages import values
from tests.unit.native.still import World
from towpath import cbor
from towpath.credits.bill import Bill
from towpath.credits.paying import Paying, Stub
from towpath.credits.receipts import (
    DAY_S,
    MAX_DUAL,
    MAX_RECEIPT,
    MAX_STEP,
    MIN_STEP,
    Receipt,
    ReceiptError,
    Signed,
    conflict,
    countersign,
    day_of,
    fraud_proof,
    read,
    read_dual,
    read_fraud_proof,
    read_receipt,
    sign,
    step,
    unsigned_allowed,
)
from towpath.identity import Identity
from towpath.relaystream.framing import HEADER_SIZE
from towpath.relaystream.messages import Challenge, Due, Known, decode
from towpath.relaystream.messages import Receipt as ReceiptMessage
from towpath.signed import signed

PAYER, RELAY = Identity(b"\x09" * 32), Identity(b"\x0a" * 32)
NOON = 20_780 * DAY_S + DAY_S / 2

counts = st.integers(0, 2**63 - 1)
receipts = st.builds(
    Receipt,
    st.just(1),
    st.just(RELAY.peer_id),
    st.just(PAYER.public_key),
    st.integers(0, 2**24),
    counts,
    counts,
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)
accounts = st.none() | st.binary(min_size=32, max_size=32).filter(any)


@given(receipts, accounts)
def test_what_two_may_sign_survives_and_fits(receipt: Receipt, account: bytes | None) -> None:
    raw = sign(receipt, PAYER.seed)
    dual = countersign(raw, RELAY.seed, account)
    assert read_receipt(raw) == receipt
    assert read_dual(dual) == Signed(receipt, raw, dual, account)
    assert len(raw) <= MAX_RECEIPT
    assert len(dual) <= MAX_DUAL


@given(receipts, receipts)
def test_two_receipts_prove_a_fraud_or_they_do_not(one: Receipt, other: Receipt) -> None:
    for second in (other, msgspec.structs.replace(one, cum_bytes=other.cum_bytes)):
        raws = sign(one, PAYER.seed), sign(second, PAYER.seed)
        if conflict(one, second):
            proof = fraud_proof(*raws)
            assert proof == fraud_proof(*reversed(raws))
            assert read_fraud_proof(proof) == PAYER.public_key
        else:
            with pytest.raises(ReceiptError):
                fraud_proof(*raws)


@given(receipts, st.sampled_from(Receipt.__struct_fields__), values)
def test_what_is_out_of_bounds_is_refused_behind_a_good_signature(receipt: Receipt, key: str, value: Any) -> None:
    fields = msgspec.to_builtins(receipt, builtin_types=(bytes,)) | {key: value}
    raw = signed("receipt", cbor.encode(fields), PAYER.seed)
    try:
        taken = read_receipt(raw)
    except ReceiptError:
        return
    assert sign(taken, PAYER.seed) == raw


@given(st.integers(0, 2**32))
def test_changed_receipts_do_not_get_through(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(chance.choice(seeds()))
    for _ in range(chance.randint(1, 3)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    check(bytes(data))


@given(counts)
def test_steps_grow_with_what_was_paid_and_stay_within_bounds(paid: int) -> None:
    assert MIN_STEP <= step(paid) <= MAX_STEP
    assert step(paid) <= step(paid + 1)
    assert unsigned_allowed(paid) == 4 * step(paid)
    assert unsigned_allowed(0) == 4 << 20


# --- a payer and a relay, with everything that may go wrong between them -----------------------------------------


class Disk:
    """A payer's ledger that keeps what was committed."""

    def __init__(self) -> None:
        self.rows: dict[tuple[bytes, int], tuple[int, int]] = {}
        self.unclean = False
        self.failing = False

    def last_signed(self, relay: bytes, day: int) -> tuple[int, int] | None:
        return self.rows.get((relay, day))

    async def commit_seq(self, relay: bytes, day: int, seq: int, cum: int) -> bool:
        await asyncio.sleep(0)
        if self.failing:
            return False
        before = self.rows.get((relay, day), (0, 0))
        self.rows[relay, day] = (max(before[0], seq), max(before[1], cum))
        return True

    def owed(self, signed: Signed, now: float) -> None:
        """Not looked at here."""


class Meter:
    """The payer's connection to the relay."""

    def __init__(self) -> None:
        self.peer_id = RELAY.peer_id
        self.closed = False
        self.sent_in_circuits = 0
        self.via = b""


class Wire:
    """The payer's end of a control stream; what it sends waits in `sent`."""

    def __init__(self) -> None:
        self.over = False
        self.sent: list[bytes] = []
        self.session: Any = Meter()

    def send(self, framed: bytes) -> None:
        message = decode(framed[HEADER_SIZE:])
        if isinstance(message, ReceiptMessage):
            self.sent.append(message.receipt)

    def may_say_more(self, n: int) -> None:
        """It may."""

    def end(self, why: str) -> None:
        raise AssertionError(why)


class Story:
    """A payer and a relay; `ever` are all receipts that were ever signed, `paid` what the relay counts as paid."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.now = NOON
        self.disk = Disk()
        self.wire = Wire()
        self.sent = 0
        self.ever: list[bytes] = []
        self.under_way: list[bytes] = []
        self.kept: dict[int, Signed] = {}
        self.paid = 0
        self.begin_payer()
        self.begin_relay()

    def begin_payer(self) -> None:
        self.wire = Wire()
        self.endpoint: Any = SimpleNamespace(peer_id=b"client", peers={})
        self.paying = Paying(PAYER, self.disk, clock=lambda: self.now)
        self.stub: Stub = self.paying.came(self.wire, self.endpoint)  # type: ignore[arg-type]

    def begin_relay(self) -> None:
        self.bill = Bill(self.world.reactor, PAYER.public_key, lambda: None, self.kept.get, self.paid, 0, self.now)

    async def meet(self) -> None:
        last = self.bill.last(day_of(self.now))
        self.paying.heard(self.stub, Challenge(bytes(32)))
        await self.rest()
        self.paying.heard(self.stub, Known(None if last is None else last.raw))
        await self.rest()

    async def rest(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)
        self.ever += self.wire.sent
        self.under_way += self.wire.sent
        self.wire.sent = []

    def take(self, raw: bytes) -> None:
        receipt = read(raw)
        if abs(receipt.receipt.day - day_of(self.now)) > 1:
            return
        covered = self.bill.take(receipt)
        if covered:
            self.paid += covered
            self.kept[receipt.receipt.day] = receipt

    async def do(self, what: str, n: int) -> None:
        if what == "send":
            self.wire.session.sent_in_circuits += n
            self.sent += n
        elif what == "ask":
            # Whatever the relay claims.
            self.paying.heard(self.stub, Due(day_of(self.now), n))
            await self.rest()
        elif what == "deliver" and self.under_way:
            self.take(self.under_way[n % len(self.under_way)])
        elif what == "lose":
            self.under_way.clear()
        elif what == "step the clock":
            self.now = max(NOON, self.now + (n % 7 - 3) * DAY_S / 2)
        elif what == "kill the payer":
            self.paying.close()
            self.disk.unclean = True
            self.begin_payer()
            await self.meet()
        elif what == "lose the connection":
            self.paying.ended(self.stub)
            session = self.wire.session
            session.closed = True
            self.wire.over = True
            self.wire = Wire()
            self.stub = self.paying.came(self.wire, self.endpoint)  # type: ignore[arg-type]
            await self.meet()
        elif what == "kill the relay":
            if n % 2:
                self.kept.pop(day_of(self.now), None)
            self.begin_relay()
        elif what == "the disk":
            self.disk.failing = n % 2 == 0


DEEDS = (
    *("send", "ask", "send", "ask", "deliver", "deliver", "lose", "step the clock"),
    *("kill the payer", "lose the connection", "kill the relay", "the disk"),
)
deeds = st.lists(
    st.tuples(
        st.sampled_from(DEEDS),
        st.integers(0, 1 << 22),
    ),
    max_size=40,
)


@given(deeds)
@settings(max_examples=150, deadline=None)
def test_no_order_loss_or_crash_makes_credit_or_fraud(done: list[tuple[str, int]]) -> None:
    async def live() -> None:
        story = Story(world)
        await story.meet()
        for what, n in done:
            await story.do(what, n)
        newest: dict[int, int] = {}
        numbers: dict[tuple[int, int], int] = {}
        for raw in story.ever:
            receipt = read_receipt(raw)
            newest[receipt.day] = max(newest.get(receipt.day, 0), receipt.cum_bytes)
            total = numbers.setdefault((receipt.day, receipt.seq), receipt.cum_bytes)
            assert total == receipt.cum_bytes, "two totals under one number"
        assert sum(newest.values()) <= story.sent, "more was signed for than was sent"
        kept = {day: signed.receipt.cum_bytes for day, signed in story.kept.items()}
        assert all(kept[day] <= newest[day] for day in kept)

    with World() as world:
        asyncio.run(live())


@given(st.lists(st.tuples(st.sampled_from(("send", "ask", "deliver", "lose")), st.integers(0, 1 << 22)), max_size=30))
@settings(max_examples=50, deadline=None)
def test_what_was_lost_on_the_way_is_paid_with_the_next_receipt(done: list[tuple[str, int]]) -> None:
    async def live() -> None:
        story = Story(world)
        await story.meet()
        for what, n in done:
            await story.do(what, n)
        await story.do("send", 1)
        await story.do("ask", 1 << 40)
        story.take(story.under_way[-1])
        assert story.paid == story.sent

    with World() as world:
        asyncio.run(live())


def test_a_relay_that_asks_for_every_byte_gets_few_signatures_and_who_asks_for_steps_gets_them_all() -> None:
    async def live() -> None:
        story = Story(world)
        await story.meet()
        for _ in range(300):
            await story.do("send", 1)
            await story.do("ask", 1)
        # Half a minute of the pace, however slow the machine.
        assert 64 <= len(story.ever) <= 64 + 15
        for _ in range(20):
            await story.do("send", 1 << 20)
            await story.do("ask", 1 << 40)
        assert read_receipt(story.ever[-1]).cum_bytes == story.sent

    with World() as world:
        asyncio.run(live())
