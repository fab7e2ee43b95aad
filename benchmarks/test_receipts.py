"""What receipts cost a relay: CPU seconds per GB of payload, beside what relaying a GB costs the C reference.

Measured: this process's CPU clock (all threads: the store writes as well) over receipts of one account, each asked for,
decoded, checked, kept on disk, and each eighth countersigned, as `Billing` and the ledger do it. How many a GB takes
follows from the steps: those of an account that has paid for 4 GiB, and of one that is new. Constant: receipts signed
beforehand; the reference relays frames of 64 KiB over one circuit, pinned as in test_throughput.py.
"""

import asyncio
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from benchmarks.conftest import METER, Form, Judge
from benchmarks.generator import Generator
from benchmarks.programs import Programs
from benchmarks.relays import open_relay
from benchmarks.results import Bound, Row
from towpath._native.endpoint import Endpoint, pack_remote
from towpath._native.reactor import Reactor
from towpath.credits import account
from towpath.credits.billing import Billing
from towpath.credits.free_tier import Tier
from towpath.credits.ledger import Ledger
from towpath.credits.receipts import Receipt, day_of, sign, step
from towpath.identity import Identity
from towpath.relaystream.framing import frame
from towpath.relaystream.messages import FROM_PAYER, Account, Due, decode, encode
from towpath.relaystream.messages import Receipt as ReceiptMessage
from towpath.store import Store

pytestmark = [pytest.mark.benchmark(timer=METER, group="CPU seconds per GB"), pytest.mark.timeout(300)]

_GB = 10**9
_STEADY = Bound(0.02, 0.005)
_RECEIPTS = 400
PAYER, RELAY = Identity(b"\x09" * 32), Identity(b"\x0a" * 32)


class _Stream:
    """The relay's end of a control stream that leads nowhere."""

    over = False

    def __init__(self) -> None:
        self.session: Any = SimpleNamespace(
            peer_id=Identity.generate().peer_id, remote=pack_remote("198.51.100.7", 4001)
        )
        self.said = 0

    def send(self, framed: bytes) -> None:
        self.said += 1

    def may_say_more(self, n: int) -> None:
        """It may."""

    def end(self, why: str) -> None:
        raise AssertionError(why)


def receipts_for(size: int, paid: int) -> int:
    """How many an account signs for so many bytes when it has paid for `paid` before."""
    count = 0
    end = paid + size
    while paid < end:
        paid += step(paid)
        count += 1
    return count


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - nobody tells, and it is a turn or two
        await asyncio.sleep(0)


async def _cpu_of_a_receipt(path: Path) -> float:
    reactor = Reactor(asyncio.get_running_loop())
    endpoint = Endpoint(reactor, RELAY.seed)
    store = await Store.open(path)
    ledger = Ledger(store, RELAY.peer_id, lambda: Tier(1 << 30, 1 << 20))
    await ledger.load(time.time())
    billing = Billing(endpoint, RELAY, PAYER.public_key, ledger)
    stream: Any = _Stream()
    try:
        tab = billing.came(stream)
        billing.heard(tab, Account(account.prove(PAYER.seed, RELAY.peer_id, tab.peer_id, tab.nonce)))
        today = day_of(time.time())
        first = Receipt(1, RELAY.peer_id, PAYER.public_key, today, 1, 1 << 20, 0, 0)
        ever = [msgspec.structs.replace(first, seq=n, cum_bytes=n << 20) for n in range(1, _RECEIPTS + 1)]
        bodies = [encode(ReceiptMessage(sign(one, PAYER.seed))) for one in ever]
        await _until(lambda: stream.said == 2)
        began = time.process_time()
        for n, body in enumerate(bodies):
            frame(encode(Due(today, n << 20)))
            message = decode(body)
            assert isinstance(message, FROM_PAYER)
            billing.heard(tab, message)
            await _until(lambda n=n: ledger.paid_ever(PAYER.public_key) == (n + 1) << 20)  # type: ignore[misc]
            await store.written()
        await _until(lambda: stream.said == 2 + _RECEIPTS // 8)
        return (time.process_time() - began) / _RECEIPTS
    finally:
        billing.close()
        await store.close()
        endpoint.close()
        endpoint.abort()
        reactor.close()


def test_receipts_cost_next_to_nothing(
    built: Programs, generator: Generator, form: Form, judge: Judge, tmp_path: Path
) -> None:
    relayed, each = [], []
    with open_relay("reference", built, tmp_path) as reference:
        for turn in range(form.rounds):
            relayed.append(generator.bulk(reference, seconds=form.seconds, warmup=form.warmup).cpu_s_per_gb)
            each.append(asyncio.run(_cpu_of_a_receipt(tmp_path / f"{turn}.db")))
    cpu, least = statistics.median(each), statistics.median(relayed)
    rows = []
    for what, paid, bound in (("that has paid for 4 GiB", 4 << 30, _STEADY), ("that is new", 0, None)):
        count = receipts_for(_GB, paid)
        rows.append(
            Row(
                "towpath",
                f"CPU of receipts, an account {what}",
                "s/GB",
                cpu * count,
                tuple(one * count for one in each),
                least,
                round(cpu * count / least, 4),
                bound,
                note=f"{count} receipts of {cpu * 1e6:.0f} µs",
            )
        )
    judge(*rows)
