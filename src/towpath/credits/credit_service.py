"""The node's handle on the process that computes credit: answers from what it said last, at once; never waits for it.

The process is started when there is a receipt, or an edge given by hand or for being probed, to weigh, ends when nobody
asked for long, and may die at any time: it is told again what was written down. What an account used is told until the
process has said that it counted it, and written down together with that.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from towpath.credits.fair import Queue
from towpath.credits.ledger import Standing
from towpath.credits.receipts import MAX_DUAL, MAX_EVIDENCE, ReceiptError, Signed, read_fraud_proof
from towpath.log import get_logger

if TYPE_CHECKING:
    from towpath.credits.weighing import Weigher
    from towpath.store import Store

__all__ = ["Counts", "Credit"]

STALE_S: Final = 60.0
"""An answer that is older is asked for anew, and used meanwhile."""
WALKS_S: Final = 600.0
IDLE_S: Final = 900.0
"""Without a question the process ends."""
RESTARTS_S: Final = (0.1, 0.5, 2.0, 5.0, 15.0, 60.0)
"""Before the process is started again, the more often it died lately."""
STEADY_S: Final = 60.0
ACCOUNTS: Final = 4096
"""Whose credit is remembered."""
AT_ONCE: Final = 64
"""Questions under way: a process that has hundreds to read is taken for one that does not read."""
BRINGS_PER_S: Final = 5.0
BRINGS_AT_ONCE: Final = 20
"""Evidence that is checked, of all together: 64 receipts take the process some 15 ms."""
BRINGS_WAITING: Final = 100
"""Accounts whose evidence waits for that, some 28 KiB each."""
LIARS: Final = 1000
LIARS_S: Final = 60.0
"""Lying costs nothing, and each liar writes them all: with many at once that is not done sooner again."""
WEIGHING: Final = "credit.weighing"
"""Under which the store keeps that it has evidence."""
_STOP_S: Final = 1.0
_LIARS: Final = "credit.liars"
_log = get_logger("credit")


class Counts:
    """Receipts that were brought since the start."""

    __slots__ = ("brought", "refused")

    def __init__(self) -> None:
        self.brought = 0
        """Taken."""
        self.refused = 0
        """Not taken: false, old, or of no use."""


class _Kept:
    """What was said last of an account, and what it used since: told to the process, and not told yet."""

    __slots__ = ("asked", "at", "direct", "through", "told", "untold")

    def __init__(self) -> None:
        self.direct = 0
        self.through = 0
        self.at = -STALE_S
        self.asked = False
        self.told = 0
        self.untold = 0


class Credit:
    """A CreditSource over the receipts known.

    `own` is our account. `duals()` are the countersigned receipts that it signed, `given()` the credit of accounts
    without receipts (see `virtual`). `changed(account)` is called when an account's credit was computed anew,
    `fraud(proof)` with each proof that somebody signed two receipts of one number.
    """

    def __init__(
        self,
        store: Store,
        own: bytes,
        *,
        duals: Callable[[], Sequence[bytes]] = tuple,
        given: Callable[[], Mapping[bytes, int]] = dict,
        fraud: Callable[[bytes], None] = lambda proof: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.changed: Callable[[bytes], None] = lambda account: None
        self.restarts = 0
        self.counts = Counts()
        self._store = store
        self._own = own
        self._duals = duals
        self._given = given
        self._fraud = fraud
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._accounts: OrderedDict[bytes, _Kept] = OrderedDict()
        self._later: OrderedDict[bytes, None] = OrderedDict()
        """Accounts that something is to be told or asked of when others were answered."""
        self._scores: dict[bytes, float] = {}
        self._scored_at = -WALKS_S
        self._given_at = -STALE_S
        self._nothing_at = -STALE_S
        self._brings = (float(BRINGS_AT_ONCE), self._loop.time())
        self._shown: Queue[list[bytes]] = Queue(BRINGS_WAITING)
        """Evidence that waits to be checked, by account."""
        self._showing: asyncio.TimerHandle | None = None
        self._liars = OrderedDict.fromkeys(bytes.fromhex(one) for one in store.get(_LIARS, []))
        self._liars_written = -LIARS_S
        self._writing_liars: asyncio.TimerHandle | None = None
        self._weigher: Weigher | None = None
        self._starting: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._begun = 0.0
        self._deaths = 0
        self._stopped = False
        self._settled = asyncio.Event()
        self._settled.set()

    # --- life ----------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._weigher is None else self._weigher.pid

    async def stop(self) -> None:
        """Ends the process, when it has counted what was used."""
        self._shown.clear()
        if self._weigher is not None and self._weigher.busy:
            try:
                async with asyncio.timeout(_STOP_S):
                    await self.settled()
            except TimeoutError:
                _log.warning("credit.stopped_early", note="what was used in the last second may be counted as credit")
        self._stopped = True
        for timer in (self._idle, self._showing):
            if timer is not None:
                timer.cancel()
        if self._writing_liars is not None:
            self._writing_liars.cancel()
            self._write_liars()
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        if self._weigher is not None:
            await self._weigher.stop()

    async def settled(self) -> None:
        """Returns once nothing is being asked or told: for whoever must know the newest."""
        await self._settled.wait()

    # --- credit --------------------------------------------------------------------------------

    def standing(self, account: bytes) -> Standing:
        """The credit of an account as it was computed last, and what it used since; computes it anew when that is old.

        Of an account that is asked about for the first time nothing is known yet: `changed` tells when it is.
        """
        kept = self._accounts.get(account)
        if kept is None or self._loop.time() - kept.at >= STALE_S:
            kept = self._ask(account)
        if kept is None:
            return Standing()
        return Standing(kept.direct, kept.through, min(kept.told + kept.untold, kept.direct + kept.through))

    def credit_of(self, account: bytes) -> int:
        """What is left of it, in bytes."""
        standing = self.standing(account)
        return standing.direct + standing.through - standing.used

    def used(self, account: bytes, n: int) -> None:
        """It used so many bytes of it: they are taken from the edges over which its credit comes."""
        if n > 0 and (kept := self._of(account)) is not None:
            kept.untold += n
            self._take(account, kept)

    def owes(self, signed: Signed) -> None:
        """A relay countersigned a receipt of ours: its account has credit here for it."""
        self._nothing_at = -STALE_S
        # A process that is not running gets all of them when it is started.
        if signed.dual is not None and self._weigher is not None:
            self._settled.clear()
            self._weigher.bring(self._own, [signed.dual])
            if signed.relay_account is not None and signed.relay_account in self._accounts:
                self._weigher.ask(signed.relay_account)

    def bring(self, account: bytes, duals: Iterable[bytes], network: bytes = b"") -> bool:
        """Takes the countersigned receipts that an account shows, as they came; False: there is no time, or no use.

        Those of one `network` wait for one another, not those of others for them.
        What is wrong with them, and whether they are of any use, is found later; `changed` tells the outcome.
        """
        shown = [dual for dual in duals if len(dual) <= MAX_DUAL][:MAX_EVIDENCE]
        if not shown or self._stopped or account in self._liars:
            return False
        # Where nothing leads from us to anybody no evidence can matter.
        if (self._weigher is None and self._has_nothing()) or self._of(account) is None:
            return False
        if not self._shown.put(network, account, shown):
            return False
        self._settled.clear()
        if self._weigher is None:
            self._start()
        elif self._showing is None:
            self._show()
        return True

    def _show(self) -> None:
        """Has the process check what was brought, as much as there is time for."""
        self._showing = None
        left, at = self._brings
        now = self._loop.time()
        left = min(float(BRINGS_AT_ONCE), left + (now - at) * BRINGS_PER_S)
        while self._shown and self._weigher is not None and left >= 1:
            left -= 1
            self._weigher.bring(*self._shown.pop())
        self._brings = (left, now)
        if self._shown and self._weigher is not None:
            self._showing = self._loop.call_later((1 - left) / BRINGS_PER_S, self._show)

    def distrust(self, account: bytes) -> None:
        """It was proven that an account signed two receipts of one number: what it signs as a payer counts no more."""
        if account in self._liars:
            return
        self._liars[account] = None
        if len(self._liars) > LIARS:
            # Whoever wants to be forgotten can invent liars: who was heard of otherwise stays.
            del self._liars[next((one for one in self._liars if one not in self._accounts), next(iter(self._liars)))]
        if self._writing_liars is None:
            wait = self._liars_written + LIARS_S - self._loop.time()
            if wait <= 0:
                self._write_liars()
            else:
                self._writing_liars = self._loop.call_later(wait, self._write_liars)
        if self._weigher is not None:
            self._weigher.distrust(account)

    def _write_liars(self) -> None:
        self._writing_liars = None
        self._liars_written = self._loop.time()
        self._store.put(_LIARS, [one.hex() for one in self._liars])

    def walk_scores(self) -> dict[bytes, float]:
        """The standing, 0…100, of the accounts that receipts lead to from us, as computed last. Not to be changed."""
        now = self._loop.time()
        # Without others' receipts the walks end at those that we know ourselves.
        if now - self._scored_at >= WALKS_S and self._store.get(WEIGHING, False):
            if self._weigher is None:
                self._start()
            else:
                self._scored_at = now
                self._settled.clear()
                self._weigher.walk()
        return self._scores

    # --- asking --------------------------------------------------------------------------------

    def _of(self, account: bytes) -> _Kept | None:
        """What is kept of an account, made when it is new; None while others all have something that must be told."""
        kept = self._accounts.get(account)
        if kept is None:
            if len(self._accounts) >= ACCOUNTS:
                oldest = next((one for one, its in self._accounts.items() if not its.untold and not its.told), None)
                if oldest is None:
                    return None
                del self._accounts[oldest]
            kept = self._accounts[account] = _Kept()
        self._accounts.move_to_end(account)
        return kept

    def _ask(self, account: bytes) -> _Kept | None:
        kept = self._accounts.get(account)
        if self._weigher is None and (self._stopped or self._has_nothing()):
            return kept
        kept = self._of(account)
        if kept is None or kept.asked:
            return kept
        weigher = self._weigher
        if weigher is None:
            self._start()
            return kept
        if weigher.under_way >= AT_ONCE:
            if len(self._later) < ACCOUNTS:
                self._later[account] = None
            return kept
        kept.asked = True
        self._settled.clear()
        self._tell_given(weigher)
        weigher.ask(account)
        return kept

    def _take(self, account: bytes, kept: _Kept) -> None:
        if self._weigher is None:
            self._start()
            return
        if self._weigher.under_way >= AT_ONCE:
            self._later[account] = None
            return
        amount, kept.untold = kept.untold, 0
        kept.told += amount
        self._settled.clear()
        self._weigher.take(account, amount)

    def _go_on(self) -> None:
        while self._later and self._weigher is not None and self._weigher.under_way < AT_ONCE:
            account, _ = self._later.popitem(last=False)
            kept = self._accounts.get(account)
            if kept is not None and kept.untold:
                self._take(account, kept)
            elif kept is not None:
                self._ask(account)

    def _has_nothing(self) -> bool:
        """Is there nothing to weigh? Looked at again after a while."""
        now = self._loop.time()
        if now - self._nothing_at >= STALE_S:
            if self._store.get(WEIGHING, False) or self._duals() or self._given():
                return False
            self._nothing_at = now
        return True

    def _tell_given(self, weigher: Weigher) -> None:
        now = self._loop.time()
        if now - self._given_at >= STALE_S:
            self._given_at = now
            weigher.give(self._given())

    # --- the process ---------------------------------------------------------------------------

    def _start(self, wait: float = 0.0) -> None:
        if self._starting is None and self._weigher is None and not self._stopped:
            self._settled.clear()
            self._starting = asyncio.ensure_future(self._begin(wait))
            self._starting.add_done_callback(self._started)

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starting = None
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            _log.error("credit.failed", note=f"the process that computes credit cannot be started: {error}")
            self._again()

    async def _begin(self, wait: float) -> None:
        await asyncio.sleep(wait)
        # Most nodes weigh nothing.
        from towpath.credits.weighing import Weigher

        weigher = Weigher(
            self._store,
            self._own,
            self._clock,
            self.counts,
            stands=self._stands,
            scored=self._have_scored,
            fraud=self._fraud_found,
            ended=self._ended,
        )
        await weigher.start(list(self._liars), self._duals())
        self._weigher = weigher
        self._begun = self._loop.time()
        self._given_at = -STALE_S
        self._tell_given(weigher)
        self._show()
        for account, kept in list(self._accounts.items()):
            if kept.untold:
                self._take(account, kept)
            else:
                self._ask(account)
        self._settle()
        self._watch()

    def _watch(self) -> None:
        weigher = self._weigher
        if weigher is None:
            return
        left = IDLE_S - (self._loop.time() - weigher.spoke)
        if left > 0 or weigher.busy:
            self._idle = self._loop.call_later(max(1.0, left), self._watch)
        else:
            self._weigher = None
            weigher.end("nobody asks")

    def _ended(self, weigher: Weigher, why: str) -> None:
        if self._weigher is not weigher:
            return
        self._weigher = None
        for timer in (self._idle, self._showing):
            if timer is not None:
                timer.cancel()
        self._showing = None
        self._later.clear()
        # What it counted and did not say is counted again: it was not written down either.
        for kept in self._accounts.values():
            kept.untold += kept.told
            kept.told = 0
            kept.asked = False
        if not self._stopped:
            _log.warning("credit.ended", note=f"the process that computes credit is started again: {why}")
            self._again()

    def _again(self) -> None:
        if self._loop.time() - self._begun > STEADY_S:
            self._deaths = 0
        self.restarts += 1
        self._start(RESTARTS_S[min(self._deaths, len(RESTARTS_S) - 1)])
        self._deaths += 1

    def _settle(self) -> None:
        if self._weigher is not None and not self._weigher.busy and not self._shown and not self._later:
            self._settled.set()

    # --- what it found -------------------------------------------------------------------------

    def _stands(self, account: bytes, used: int, found: tuple[int, int] | None) -> None:
        kept = self._accounts.get(account)
        if kept is not None:
            kept.asked = False
            kept.told = max(0, kept.told - used)
            if found is not None:
                before = (kept.direct, kept.through)
                kept.direct, kept.through = found
                kept.at = self._loop.time()
                if before != found:
                    self.changed(account)
        self._go_on()
        self._settle()

    def _have_scored(self, scores: dict[bytes, float]) -> None:
        self._scores = scores
        self._settle()

    def _fraud_found(self, proof: bytes) -> None:
        try:
            liar = read_fraud_proof(proof)
        except ReceiptError as error:
            if self._weigher is not None:
                self._weigher.end(f"it said what it may not: {error}")
            return
        self.distrust(liar)
        self._fraud(proof)
