"""The ledger in its file: what was signed is there after any end, what was counted after a second."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from towpath.credits import earned, senders
from towpath.credits.free_tier import Tier
from towpath.credits.ledger import Ledger
from towpath.credits.receipts import DAY_S, MIN_STEP, Receipt, Signed, countersign, day_of, read_dual, sign
from towpath.identity import Identity
from towpath.store import Store

NOW = 20_000 * DAY_S + 43_200.0
TODAY = day_of(NOW)
MIB = 1 << 20
RELAY, ACCOUNT, PAYER = Identity(b"\x01" * 32), Identity(b"\x02" * 32), Identity(b"\x03" * 32)
NETWORK = b"\xc0\x00\x02"
CHILD = """
import asyncio, sys
from tests.unit.test_ledger import NOW, RELAY, TODAY, opened
from pathlib import Path

async def main():
    async with opened(Path(sys.argv[1])) as ledger:
        seq, cum = ledger.last_signed(RELAY.peer_id, TODAY) or (0, 0)
        while True:
            seq, cum = seq + 1, cum + 1000
            assert await ledger.commit_seq(RELAY.peer_id, TODAY, seq, cum)
            print(seq, cum, flush=True)

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def opened(path: Path | None, tier: Tier | None = None) -> AsyncIterator[Ledger]:
    store = await Store.open(path, clock=lambda: NOW)
    ledger = Ledger(store, RELAY.peer_id, lambda: tier or Tier())
    await ledger.load(NOW)
    try:
        yield ledger
    finally:
        await ledger.close()
        await store.close()


def receipt(seq: int, cum: int, day: int = TODAY, payer: Identity = PAYER) -> Signed:
    made = Receipt(1, RELAY.peer_id, payer.public_key, day, seq, cum, 1, 0)
    return Signed(made, sign(made, payer.seed))


def dual(signed: Signed) -> Signed:
    return read_dual(countersign(signed.raw, RELAY.seed, ACCOUNT.public_key))


async def test_what_was_signed_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "towpath.db"
    payer = PAYER.public_key
    async with opened(path) as ledger:
        assert await ledger.paid(payer, receipt(1, 5 * MIB), 5 * MIB, NOW)
        ledger.countersigned(dual(receipt(1, 5 * MIB)), NOW)
        ledger.owed(dual(receipt(7, 3 * MIB)), NOW)
        assert await ledger.commit_seq(RELAY.peer_id, TODAY, 9, 4 * MIB)
        ledger.carried(payer, NETWORK, 6 * MIB, NOW)
        before = ledger.balance(NOW)
    async with opened(path) as ledger:
        assert not ledger.unclean
        assert ledger.balance(NOW) == before
        assert (before["earned"], before["spent"], before["balance"]) == (5 * MIB, 4 * MIB, MIB)
        assert ledger.last_paid(payer, TODAY) == receipt(1, 5 * MIB)
        assert ledger.evidence(NOW) == [dual(receipt(1, 5 * MIB)).dual]
        assert ledger.ours(TODAY) == [dual(receipt(7, 3 * MIB))]
        assert ledger.owed_duals() == [dual(receipt(7, 3 * MIB)).dual]
        assert ledger.last_signed(RELAY.peer_id, TODAY) == (9, 4 * MIB)
        assert ledger.relayed_for_me(RELAY.peer_id) == 4 * MIB
        assert [one.cum_bytes for one in ledger.paid_to_us(TODAY)] == [5 * MIB]
        sender = ledger.senders.get(payer)
        assert sender is not None
        assert (sender.carried, sender.free) == (6 * MIB, 6 * MIB)
        assert ledger.free_left(NETWORK, NOW) == (1 << 30) - 6 * MIB


@pytest.mark.slow
def test_a_number_that_was_given_is_known_after_any_kill(tmp_path: Path) -> None:
    async def found(path: Path) -> tuple[bool, tuple[int, int] | None, int]:
        async with opened(path) as ledger:
            return ledger.unclean, ledger.last_signed(RELAY.peer_id, TODAY), ledger.balance(NOW)["spent_ever"]

    path, given = tmp_path / "towpath.db", (0, 0)
    for _ in range(3):
        command = [sys.executable, "-c", CHILD, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
            assert child.stdout is not None
            for _ in range(30):
                line = child.stdout.readline()
            child.kill()
            rest = child.stdout.read().decode().split("\n")[:-1]
        said = [line.decode().strip(), *rest]
        last = max((int(seq), int(cum)) for seq, cum in map(str.split, said))
        assert last > given
        unclean, signed, spent = asyncio.run(found(path))
        assert unclean
        assert signed is not None
        assert signed >= last
        assert spent == signed[1]
        given = signed


async def test_what_is_carried_is_owed_until_it_is_signed(tmp_path: Path) -> None:
    payer = PAYER.public_key
    async with opened(None) as ledger:
        ledger.carried(payer, NETWORK, 4 * MIN_STEP, NOW)
        assert ledger.unsigned(payer, NOW) == 4 * MIN_STEP
        assert not ledger.is_rider(payer, NOW)
        ledger.carried(payer, NETWORK, 1, NOW)
        assert ledger.is_rider(payer, NOW)
        assert await ledger.paid(payer, receipt(1, 3 * MIN_STEP), 3 * MIN_STEP, NOW)
        assert ledger.unsigned(payer, NOW) == MIN_STEP + 1
        assert not ledger.is_rider(payer, NOW)
        # A receipt may cover what is counted only in the second to come.
        assert await ledger.paid(payer, receipt(2, 6 * MIN_STEP), 3 * MIN_STEP, NOW)
        ledger.carried(payer, NETWORK, 2 * MIN_STEP, NOW)
        assert ledger.unsigned(payer, NOW) == 1


async def test_the_newest_receipt_is_known_beside_an_older_one_that_was_countersigned() -> None:
    payer = PAYER.public_key
    async with opened(None) as ledger:
        await ledger.paid(payer, receipt(1, MIB), MIB, NOW)
        ledger.countersigned(dual(receipt(1, MIB)), NOW)
        await ledger.paid(payer, receipt(2, 5 * MIB), 4 * MIB, NOW)
        assert ledger.last_paid(payer, TODAY) == receipt(2, 5 * MIB)
        assert ledger.evidence(NOW) == [dual(receipt(1, MIB)).dual]


async def test_a_signature_for_what_nobody_carried_earns_nothing_and_keeps_the_store_whole() -> None:
    most = 2**63 - 1
    async with opened(None) as ledger:
        ledger.carried(PAYER.public_key, NETWORK, MIB, NOW)
        assert await ledger.paid(PAYER.public_key, receipt(1, most), 5 * MIB, NOW)
        stranger = Identity.generate()
        assert await ledger.paid(stranger.public_key, receipt(1, most, payer=stranger), MIB, NOW)
        assert ledger.balance(NOW)["earned_ever"] == 6 * MIB
        assert ledger.paid_for(PAYER.public_key) == MIB
        assert ledger.paid_for(stranger.public_key) == 0


async def test_a_receipt_of_somebody_else_or_for_another_relay_earns_nothing() -> None:
    other = Identity.generate()
    made = Receipt(1, other.peer_id, PAYER.public_key, TODAY, 1, MIB, 0, 0)
    async with opened(None) as ledger:
        await ledger.paid(PAYER.public_key, Signed(made, sign(made, PAYER.seed)), MIB, NOW)
        await ledger.paid(other.public_key, receipt(1, MIB), MIB, NOW)
        assert ledger.balance(NOW)["earned_ever"] == 0


@pytest.mark.parametrize("day", [TODAY - 3, TODAY + 2])
async def test_a_receipt_of_a_day_that_is_not_open_earns_nothing(day: int) -> None:
    async with opened(None) as ledger:
        await ledger.paid(PAYER.public_key, receipt(1, MIB, day), MIB, NOW)
        assert ledger.balance(NOW)["earned_ever"] == 0


async def test_old_receipts_are_dropped_and_never_counted_again(tmp_path: Path) -> None:
    path = tmp_path / "towpath.db"
    async with opened(path) as ledger:
        await ledger.paid(PAYER.public_key, receipt(1, 5 * MIB), 5 * MIB, NOW)
    later = NOW + 91 * DAY_S
    store = await Store.open(path, clock=lambda: later)
    ledger = Ledger(store, RELAY.peer_id, Tier)
    await ledger.load(later)
    assert ledger.paid_to_us(0) == []
    # The clock was wrong: the same receipt comes again.
    await ledger.paid(PAYER.public_key, receipt(1, 5 * MIB), 5 * MIB, NOW)
    assert ledger.balance(NOW)["earned_ever"] == 5 * MIB
    await store.close()


async def test_invented_payers_push_out_one_another_and_not_who_paid_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earned, "MAX_RECEIPTS", 16)
    async with opened(None) as ledger:
        for n in range(16):
            payer = Identity(bytes((n + 9,)) * 32)
            # Who paid much did so before all others.
            signed = receipt(1, 1 if n else 5 * MIB, TODAY - (1 if n else 2), payer)
            await ledger.paid(payer.public_key, signed, MIB, NOW, bytes((n, 0, 0)))
        later = NOW + 9 * DAY_S
        for n in range(8):
            payer = Identity(bytes((n + 99,)) * 32)
            await ledger.paid(payer.public_key, receipt(1, MIB, TODAY + 9, payer), MIB, later, bytes((n, 0, 0)))
        kept = [one.cum_bytes for one in ledger.paid_to_us(0)]
        assert len(kept) == 16
        assert kept.count(5 * MIB) == 1
        assert kept.count(MIB) == 8


async def test_accounts_invented_in_one_network_leave_others_room_for_their_receipts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(earned, "MAX_RECEIPTS", 90)
    async with opened(None) as ledger:
        for n in range(200):
            payer = Identity(n.to_bytes(32)).public_key
            await ledger.paid(payer, receipt(1, 1, TODAY - n % 3, Identity(n.to_bytes(32))), 1, NOW, b"one")
        held = len(ledger.paid_to_us(0))
        assert 5 <= held <= 10
        await ledger.paid(PAYER.public_key, receipt(1, MIB), MIB, NOW, b"two")
        assert len(ledger.paid_to_us(0)) == held + 1
        # Who has a row goes on, whatever its network holds.
        first = Identity((0).to_bytes(32))
        await ledger.paid(first.public_key, receipt(2, MIB, TODAY, first), MIB, NOW, b"one")
        assert ledger.paid_ever(first.public_key) == MIB


async def test_a_receipt_for_which_there_is_no_room_has_none_when_it_is_countersigned() -> None:
    async with opened(None) as ledger:
        ledger.countersigned(dual(receipt(1, 100)), NOW)
        assert ledger.evidence(NOW) == []
        assert ledger.paid_ever(PAYER.public_key) == 0
        assert ledger.last_paid(PAYER.public_key, TODAY) is None


async def test_accounts_invented_for_a_byte_each_push_out_one_another_and_not_who_sent_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(senders, "MAX_SENDERS", 40)
    async with opened(None) as ledger:
        ledger.carried(PAYER.public_key, NETWORK, 10 * MIB, NOW)
        await ledger.paid(PAYER.public_key, receipt(1, 10 * MIB), 10 * MIB, NOW)
        for n in range(200):
            ledger.carried(n.to_bytes(32, "big"), NETWORK, 1, NOW + n)
        assert len(ledger.senders.accounts()) == 40
        assert list(ledger.senders.accounts())[1:] == [n.to_bytes(32, "big") for n in range(161, 200)]
        assert ledger.paid_for(PAYER.public_key) == 10 * MIB
        # With none that sent little it is the one that sent longest ago.
        for n in range(200, 240):
            ledger.carried(n.to_bytes(32, "big"), NETWORK, MIB, NOW + n)
        assert list(ledger.senders.accounts()) == [n.to_bytes(32, "big") for n in range(200, 240)]


async def test_a_free_tier_used_under_a_clock_years_ahead_refills_once_the_clock_is_right() -> None:
    async with opened(None, Tier(4 * MIB, MIB)) as ledger:
        ledger.carried(None, NETWORK, 4 * MIB, NOW + 1000 * DAY_S)
        assert ledger.free_left(NETWORK, NOW) == 0
        assert ledger.free_left(NETWORK, NOW + 2) == 2 * MIB


async def test_a_fraud_proof_is_handed_on() -> None:
    async with opened(None) as ledger:
        told: list[bytes] = []
        ledger.on_fraud = told.append
        ledger.fraud(b"proof", NOW)
        assert told == [b"proof"]
