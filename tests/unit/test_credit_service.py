"""Credit as the node asks for it: at once, from a process that checks, counts, and may die."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.credit_receipts import DAY, MIB, NOW, account, dual, relay, signed
from towpath.credits import credit_service
from towpath.credits.credit_service import Credit
from towpath.credits.receipts import read_fraud_proof
from towpath.credits.weighing import Weigher
from towpath.store import Store

pytestmark = pytest.mark.slow

US = 0
WAIT_S = 30.0


class Node:
    """A Credit with its store, which can be stopped and begun again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.duals = [dual(US, 1, 100 * MIB)]
        self.given: dict[bytes, int] = {}
        self.frauds: list[bytes] = []

    async def begin(self) -> Node:
        self.store = await Store.open(self.path / "towpath.db")
        self.credit = Credit(
            self.store,
            account(US),
            duals=lambda: self.duals,
            given=lambda: self.given,
            fraud=self.frauds.append,
            clock=lambda: NOW,
        )
        return self

    async def end(self) -> None:
        await self.credit.stop()
        await self.store.close()

    async def settled(self) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.credit.settled()

    async def known(self, number: int) -> int:
        """What an account has, once that is computed."""
        self.credit.standing(account(number))
        await self.settled()
        return self.credit.credit_of(account(number))


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    one = await Node(tmp_path).begin()
    yield one
    await one.end()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110 - the process comes and goes without saying so
            await asyncio.sleep(0.01)


async def test_who_relayed_for_us_has_credit_and_nobody_waits_for_the_answer(node: Node) -> None:
    told: list[bytes] = []
    node.credit.changed = told.append
    assert node.credit.credit_of(account(1)) == 0
    await node.settled()
    assert node.credit.credit_of(account(1)) == 100 * MIB
    assert told == [account(1)]


async def test_a_process_that_knows_its_receipts_before_it_is_asked_has_not_answered_yet(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Weigher.start

    async def slowly(weigher: Weigher, *known: Any) -> None:
        await start(weigher, *known)
        await until(lambda: not weigher.busy)

    monkeypatch.setattr(Weigher, "start", slowly)
    assert await node.known(1) == 100 * MIB


async def test_what_a_relay_does_for_us_counts_at_once(node: Node) -> None:
    assert await node.known(1) == 100 * MIB
    node.credit.owes(signed(US, 1, 130 * MIB, seq=2))
    assert await node.known(1) == 130 * MIB


async def test_what_is_shown_leads_further_and_is_used_up_with_what_it_came_over(node: Node) -> None:
    # We owe 1, who owes 2, who owes 3.
    assert node.credit.bring(account(3), [dual(2, 3, 10 * MIB), dual(1, 2, 80 * MIB)])
    await node.settled()
    assert (node.credit.credit_of(account(2)), node.credit.credit_of(account(3))) == (0, 10 * MIB)
    assert await node.known(2) == 80 * MIB
    node.credit.used(account(3), 4 * MIB)
    assert node.credit.credit_of(account(3)) == 6 * MIB
    await node.settled()
    standing = node.credit.standing(account(3))
    assert (standing.direct, standing.through, standing.used) == (0, 6 * MIB, 0)
    node.credit.used(account(2), 70 * MIB)
    await node.settled()
    assert await node.known(1) == 26 * MIB


async def test_what_is_known_and_used_outlives_the_node(node: Node) -> None:
    node.credit.bring(account(2), [dual(1, 2, 80 * MIB)])
    node.credit.used(account(2), 30 * MIB)
    await node.settled()
    await node.end()
    await node.begin()
    assert await node.known(2) == 50 * MIB
    assert await node.known(1) == 70 * MIB


async def test_a_killed_process_is_replaced_and_counts_what_it_had_not_counted(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.credit.bring(account(2), [dual(1, 2, 80 * MIB)])
    await node.settled()
    node.credit.used(account(2), 10 * MIB)
    await node.settled()
    first = node.credit.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    node.credit.used(account(2), 5 * MIB)
    os.kill(first, signal.SIGKILL)
    node.credit.used(account(2), 3 * MIB)
    await until(lambda: node.credit.pid not in (None, first))
    await node.settled()
    assert node.credit.restarts == 1
    assert await node.known(2) == 62 * MIB
    assert node.credit.standing(account(2)).used == 0


async def test_there_is_no_process_while_there_is_nothing_to_weigh(node: Node) -> None:
    node.duals = []
    assert node.credit.credit_of(account(1)) == 0
    assert not node.credit.bring(account(3), [dual(2, 3, MIB)])
    assert node.credit.walk_scores() == {}
    node.credit.owes(signed(US, 1, MIB))
    assert node.credit.pid is None
    node.duals = [dual(US, 1, MIB)]
    assert await node.known(1) == MIB
    assert node.credit.pid is not None


async def test_a_process_that_nobody_asks_ends_and_begins_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credit_service, "IDLE_S", 0.0)
    assert await node.known(1) == 100 * MIB
    await until(lambda: node.credit.pid is None)
    node.credit.used(account(1), MIB)
    await node.settled()
    assert node.credit.credit_of(account(1)) == 99 * MIB
    assert node.credit.restarts == 0


async def test_a_relay_that_was_probed_long_enough_has_credit_to_give_on(node: Node) -> None:
    node.given = {account(5): 20 * MIB}
    assert await node.known(5) == 20 * MIB
    node.credit.bring(account(6), [dual(5, 6, 500 * MIB)])
    await node.settled()
    assert node.credit.credit_of(account(6)) == 20 * MIB


async def test_malformed_evidence_costs_its_bringer_only(node: Node) -> None:
    good = dual(1, 2, 80 * MIB)
    forged = bytearray(good)
    forged[-1] ^= 1
    bad = [b"", b"x", bytes(forged), good[:-1], good + b"\0", b"\xff" * 448, b"x" * 449, good[96:]]
    assert node.credit.bring(account(9), bad)
    await node.settled()
    first = node.credit.pid
    # Another's receipts, one's own for oneself, receipts of the future, and such as lead nowhere from us.
    useless = [dual(2, 2, MIB), dual(7, 8, MIB), dual(1, 3, MIB, day=DAY + 2), dual(1, 3, 0), dual(1, 3, MIB, day=1)]
    assert node.credit.bring(account(9), useless)
    await node.settled()
    assert node.credit.counts.brought == 0
    # An empty one, or one that is too long, is not even passed on as a receipt.
    assert node.credit.counts.refused == len(bad) - 1 + len(useless)
    assert node.credit.pid == first
    assert node.credit.restarts == 0
    assert node.credit.bring(account(2), [good])
    await node.settled()
    assert node.credit.credit_of(account(2)) == 80 * MIB


async def test_two_receipts_of_one_number_are_a_proof_and_the_liars_receipts_count_no_more(node: Node) -> None:
    node.credit.bring(account(2), [dual(1, 2, 80 * MIB)])
    await node.settled()
    node.credit.bring(account(2), [dual(1, 2, 90 * MIB)])
    await node.settled()
    assert [read_fraud_proof(proof) for proof in node.frauds] == [account(1)]
    assert await node.known(2) == 0
    assert not node.credit.bring(account(1), [dual(1, 2, 90 * MIB, seq=2)])
    await node.end()
    await node.begin()
    node.credit.bring(account(2), [dual(1, 2, 90 * MIB, seq=3)])
    assert await node.known(2) == 0


async def test_one_who_brings_many_lies_is_told_of_one_at_a_time(node: Node) -> None:
    first = [dual(1, 2, 80 * MIB), *(dual(2, 10 + n, MIB) for n in range(5)), *(dual(1, 3 + n, MIB) for n in range(5))]
    node.credit.bring(account(9), first)
    await node.settled()
    node.credit.bring(account(9), [dual(2, 10, 2 * MIB), dual(1, 3, 2 * MIB), dual(1, 4, 2 * MIB)])
    await node.settled()
    assert [read_fraud_proof(proof) for proof in node.frauds] == [account(2)]
    assert await node.known(3) == MIB


async def test_evidence_waits_its_turn_and_only_so_much_of_it(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credit_service, "BRINGS_PER_S", 1000.0)
    taken = sum(node.credit.bring(account(number), [b"x", b"y"]) for number in range(2, 500))
    assert taken == credit_service.BRINGS_WAITING
    # One network's many do not keep another's one out.
    assert not node.credit.bring(account(700), [b"x"], b"")
    assert node.credit.bring(account(701), [b"x", b"y"], b"net")
    # Who shows more before it was looked at is looked at once.
    assert node.credit.bring(account(2), [dual(1, 2, MIB)])
    await node.settled()
    assert (node.credit.counts.brought, node.credit.counts.refused) == (1, 2 * taken - 2)
    assert node.credit.restarts == 0


async def test_walks_rank_whom_receipts_lead_to_once_there_are_others(node: Node) -> None:
    assert await node.known(1) == 100 * MIB
    assert node.credit.walk_scores() == {}
    node.credit.bring(account(2), [dual(1, 2, 80 * MIB), dual(1, 3, 8 * MIB)])
    await node.settled()
    node.credit.walk_scores()
    await node.settled()
    scores = node.credit.walk_scores()
    assert scores.keys() == {account(1), account(2), account(3)}
    assert 100 >= scores[account(1)] > scores[account(2)] > scores[account(3)] > 0


async def test_the_loop_never_waits_for_the_process(node: Node) -> None:
    await node.known(1)
    pid = node.credit.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.thread_time()
        for number in range(200):
            node.credit.standing(account(number))
            node.credit.used(account(number), MIB)
        assert time.thread_time() - began < 1.0
        assert node.credit.credit_of(account(1)) == 99 * MIB
    finally:
        os.kill(pid, signal.SIGCONT)
    await node.settled()
    assert node.credit.credit_of(account(1)) == 99 * MIB


async def test_stopping_leaves_no_process(node: Node) -> None:
    await node.known(1)
    pid = node.credit.pid
    assert pid is not None
    node.credit.used(account(1), MIB)
    await node.credit.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    rows = await node.store.rows("credit_used")
    assert [(row[0], row[1], row[2]) for row in rows] == [(account(US), account(1), MIB)]
    assert relay(1) not in {row[0] for row in await node.store.rows("evidence")}


async def test_invented_liars_neither_push_out_a_known_one_nor_write_without_end(node: Node) -> None:
    assert await node.known(1) == 100 * MIB
    node.credit.distrust(account(1))
    first = node.store.get("credit.liars")
    for n in range(credit_service.LIARS + 9):
        node.credit.distrust(n.to_bytes(32, "big"))
    assert node.store.get("credit.liars") == first == [account(1).hex()]
    assert not node.credit.bring(account(1), [dual(1, 2, MIB)])
    await node.credit.stop()
    written = node.store.get("credit.liars")
    assert len(written) == credit_service.LIARS
    assert account(1).hex() in written


async def test_thousands_who_are_asked_about_at_once_do_not_overrun_the_process(node: Node) -> None:
    assert await node.known(1) == 100 * MIB
    many = [account(1), *(n.to_bytes(32, "big") for n in range(3000))]
    for one in many:
        node.credit.standing(one)
    for _ in range(3):
        node.credit.used(account(1), MIB)
    await node.settled()
    assert node.credit.credit_of(account(1)) == 97 * MIB
    # Begun anew, it is told and asked all of that again.
    pid = node.credit.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: node.credit.pid not in (None, pid))
    await node.settled()
    assert node.credit.restarts == 1
    assert node.credit.credit_of(account(1)) == 97 * MIB
