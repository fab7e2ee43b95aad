"""The node's handle on the process that computes credit: answers from what it said last, at once; never waits for it.

The process is started when there is a receipt, or an edge given by hand or for being probed, to weigh, ends when nobody
asked for long, and may die at any time: it is told again what was written down. What an account used is told until the
process has said that it counted it, and written down together with that.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from towpath.child_process import ChildProcess
from towpath.credits.computing_messages import (
    ROWS_AT_ONCE,
    USED_AT_ONCE,
    Ask,
    Begin,
    Bring,
    Distrust,
    Dropped,
    Fraud,
    FromChild,
    FromNode,
    Give,
    Load,
    LoadUsed,
    Scores,
    Stored,
    Take,
    Trouble,
    UsedRow,
    UsedUp,
    Walk,
    decode_from_child,
    encode,
)
from towpath.credits.computing_messages import Standing as Computed
from towpath.credits.ledger import Standing
from towpath.credits.receipts import MAX_DUAL, MAX_EVIDENCE, ReceiptError, Signed, read_fraud_proof
from towpath.log import get_logger

if TYPE_CHECKING:
    from towpath.store import Store

__all__ = ["Credit"]

STALE_S: Final = 60.0
"""An answer that is older is asked for anew, and used meanwhile."""
WALKS_S: Final = 600.0
IDLE_S: Final = 900.0
"""Without a question the process ends."""
RESTARTS_S: Final = (0.1, 0.5, 2.0, 5.0, 15.0, 60.0)
"""Before the process is started again, the more often it died lately."""
STEADY_S: Final = 60.0
SILENT_S: Final = 60.0
"""A process that says nothing for so long, although it was asked, is ended."""
ACCOUNTS: Final = 4096
"""Whose credit is remembered."""
BRINGS_PER_S: Final = 5.0
BRINGS_AT_ONCE: Final = 20
"""Evidence that is checked, of all together: 64 receipts take the process some 15 ms."""
BRINGS_WAITING: Final = 100
"""Accounts whose evidence waits for that, some 28 KiB each."""
LIARS: Final = 1000
_STOP_S: Final = 1.0
_WEIGHING: Final = "credit.weighing"
_LIARS: Final = "credit.liars"
_log = get_logger("credit")


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
        self.brought = 0
        """Receipts that were taken, since the start."""
        self.refused = 0
        """Receipts that were not: false, old, or of no use."""
        self._store = store
        self._own = own
        self._duals = duals
        self._given = given
        self._fraud = fraud
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._accounts: OrderedDict[bytes, _Kept] = OrderedDict()
        self._questions: dict[int, tuple[bytes, int]] = {}
        """Whom a question under way is about, and what it says that this account used."""
        self._used_up: dict[int, list[UsedRow]] = {}
        self._next = 1
        self._scores: dict[bytes, float] = {}
        self._scored_at = -WALKS_S
        self._told_given: dict[bytes, int] = {}
        self._given_at = -STALE_S
        self._nothing_at = -STALE_S
        self._brings = (float(BRINGS_AT_ONCE), self._loop.time())
        self._shown: OrderedDict[bytes, list[bytes]] = OrderedDict()
        """Evidence that waits to be checked."""
        self._showing: asyncio.TimerHandle | None = None
        self._liars = OrderedDict.fromkeys(bytes.fromhex(one) for one in store.get(_LIARS, []))
        self._process: ChildProcess[FromNode, FromChild] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._spoke = 0.0
        self._heard_at = 0.0
        self._begun = 0.0
        self._deaths = 0
        self._stopped = False
        self._settled = asyncio.Event()
        self._settled.set()

    # --- life ----------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._process is None else self._process.pid

    async def stop(self) -> None:
        """Ends the process, when it has counted what was used."""
        self._shown.clear()
        if self._process is not None and self._questions:
            try:
                async with asyncio.timeout(_STOP_S):
                    await self.settled()
            except TimeoutError:
                _log.warning("credit.stopped_early", note="what was used in the last second may be counted as credit")
        self._stopped = True
        for timer in (self._idle, self._showing):
            if timer is not None:
                timer.cancel()
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        process = self._process
        if process is not None:
            process.end("the node stops")
            await process.gone()

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
        if signed.dual is not None and self._process is not None:
            self._say_of(self._own, Bring(self._number(), self._own, [signed.dual], self._clock()))

    def bring(self, account: bytes, duals: Iterable[bytes]) -> bool:
        """Takes the countersigned receipts that an account shows, as they came; False: there is no time, or no use.

        What is wrong with them, and whether they are of any use, is found later; `changed` tells the outcome.
        """
        shown = [dual for dual in duals if len(dual) <= MAX_DUAL][:MAX_EVIDENCE]
        if not shown or self._stopped or account in self._liars:
            return False
        # Where nothing leads from us to anybody no evidence can matter.
        if (self._process is None and self._has_nothing()) or self._of(account) is None:
            return False
        if account not in self._shown and len(self._shown) >= BRINGS_WAITING:
            return False
        self._shown[account] = shown
        self._settled.clear()
        if self._process is None:
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
        while self._shown and self._process is not None and left >= 1:
            left -= 1
            account, duals = self._shown.popitem(last=False)
            self._say_of(account, Bring(self._number(), account, duals, self._clock()))
        self._brings = (left, now)
        if self._shown and self._process is not None:
            self._showing = self._loop.call_later((1 - left) / BRINGS_PER_S, self._show)
        self._settle()

    def distrust(self, account: bytes) -> None:
        """It was proven that an account signed two receipts of one number: what it signs as a payer counts no more."""
        self._liars[account] = None
        self._liars.move_to_end(account)
        if len(self._liars) > LIARS:
            self._liars.popitem(last=False)
        self._store.put(_LIARS, [one.hex() for one in self._liars])
        if self._process is not None:
            self._say(Distrust(account))

    def walk_scores(self) -> dict[bytes, float]:
        """The standing, 0…100, of the accounts that receipts lead to from us, as computed last. Not to be changed."""
        now = self._loop.time()
        # Without others' receipts the walks end at those that we know ourselves.
        if now - self._scored_at >= WALKS_S and self._store.get(_WEIGHING, False):
            if self._process is None:
                self._start()
            else:
                self._scored_at = now
                self._say_of(b"", Walk(self._number(), random.getrandbits(62), self._clock()))
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
        if self._process is None and (self._stopped or self._has_nothing()):
            return kept
        kept = self._of(account)
        if kept is None or kept.asked:
            return kept
        if self._process is None:
            self._start()
            return kept
        kept.asked = True
        self._tell_given()
        self._say_of(account, Ask(self._number(), account, self._clock()))
        return kept

    def _take(self, account: bytes, kept: _Kept) -> None:
        if self._process is None:
            if not self._stopped:
                self._start()
            return
        amount, kept.untold = kept.untold, 0
        kept.told += amount
        self._say_of(account, Take(self._number(), account, amount, self._clock()), amount)

    def _has_nothing(self) -> bool:
        """Is there nothing to weigh? Looked at again after a while."""
        now = self._loop.time()
        if now - self._nothing_at >= STALE_S:
            if self._store.get(_WEIGHING, False) or self._duals() or self._given():
                return False
            self._nothing_at = now
        return True

    def _tell_given(self) -> None:
        now = self._loop.time()
        if now - self._given_at < STALE_S:
            return
        self._given_at = now
        given = dict(self._given())
        if given != self._told_given:
            self._told_given = given
            self._say(Give(list(given.items())))

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _say_of(self, account: bytes, message: Ask | Bring | Take | Walk, used: int = 0) -> None:
        now = self._loop.time()
        if not self._questions:
            self._heard_at = now
        elif now - self._heard_at > SILENT_S:
            self._end("it does not answer")
            return
        self._questions[message.number] = (account, used)
        self._settled.clear()
        self._say(message)

    def _say(self, message: FromNode) -> None:
        if self._process is not None:
            self._spoke = self._loop.time()
            self._process.say(message)

    # --- the process ---------------------------------------------------------------------------

    def _start(self, wait: float = 0.0) -> None:
        if self._starting is None and self._process is None and not self._stopped:
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
            self._questions.clear()
            self._again()

    async def _begin(self, wait: float) -> None:
        await asyncio.sleep(wait)
        evidence = await self._store.rows("evidence")
        used = await self._store.rows("credit_used")
        dead: list[str] = []

        def ended(why: str) -> None:
            dead.append(why)
            self._ended(process, why)

        process: ChildProcess[FromNode, FromChild] = ChildProcess(
            "towpath.credits.computing", encode, decode_from_child, self._hear, ended
        )
        await process.start()
        try:
            for message in self._all_that_is_known(evidence, used):
                process.say(message)
                # Ten thousand receipts are too much for one turn of the loop.
                await asyncio.sleep(0)
                if dead:
                    raise ChildProcessError(dead[0])
        except asyncio.CancelledError:
            process.end("the node stops")
            await process.gone()
            raise
        self._process = process
        self._begun = self._spoke = self._heard_at = self._loop.time()
        self._told_given, self._given_at = {}, -STALE_S
        self._tell_given()
        self._show()
        for account, kept in list(self._accounts.items()):
            if kept.untold:
                self._take(account, kept)
            else:
                self._ask(account)
        self._settle()
        self._watch()

    def _all_that_is_known(
        self, evidence: Sequence[tuple[Any, ...]], used: Sequence[tuple[Any, ...]]
    ) -> Iterator[FromNode]:
        yield Begin(self._own)
        for liar in list(self._liars):
            yield Distrust(liar)
        for first in range(0, len(evidence), ROWS_AT_ONCE):
            yield Load([Stored(*row) for row in evidence[first : first + ROWS_AT_ONCE]])
        for first in range(0, len(used), USED_AT_ONCE):
            yield LoadUsed([UsedRow(*row) for row in used[first : first + USED_AT_ONCE]])
        duals = self._duals()
        for first in range(0, len(duals), MAX_EVIDENCE):
            number = self._number()
            self._questions[number] = (self._own, 0)
            yield Bring(number, self._own, list(duals[first : first + MAX_EVIDENCE]), self._clock())

    def _watch(self) -> None:
        left = IDLE_S - (self._loop.time() - self._spoke)
        if self._process is None:
            return
        if left > 0 or self._questions:
            self._idle = self._loop.call_later(max(1.0, left), self._watch)
        else:
            process, self._process = self._process, None
            process.end("nobody asks")

    def _ended(self, process: ChildProcess[FromNode, FromChild], why: str) -> None:
        if self._process is not process:
            return
        self._process = None
        for timer in (self._idle, self._showing):
            if timer is not None:
                timer.cancel()
        self._showing = None
        # What it counted and did not say is counted again: it was not written down either.
        self._questions.clear()
        self._used_up.clear()
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
        if not self._questions and not self._shown:
            self._settled.set()

    # --- what the process says -----------------------------------------------------------------

    def _hear(self, message: FromChild) -> None:
        self._heard_at = self._loop.time()
        match message:
            case Computed():
                self._computed(message)
            case UsedUp(number, rows):
                # Written down when it is known that all of it was counted.
                if number in self._questions:
                    self._used_up.setdefault(number, []).extend(rows)
            case Scores(number, scores):
                if self._questions.pop(number, None) is not None:
                    self._scores = dict(scores)
            case Dropped(keys):
                for key in keys:
                    self._store.keep("evidence", (key.relay, key.payer, key.day), None, soon=True)
            case Fraud(proof):
                self._fraud_found(proof)
            case Trouble(number, sentence):
                _log.error("credit.trouble", note=f"something in the process that computes credit failed: {sentence}")
                self._used_up.pop(number, None)
                self._answered(number)
        self._settle()

    def _end(self, why: str) -> None:
        if self._process is not None:
            self._process.end(why)

    def _answered(self, number: int) -> tuple[bytes, _Kept | None] | None:
        """Whom the question of this number was about; None when there was none."""
        question = self._questions.pop(number, None)
        if question is None:
            return None
        account, amount = question
        kept = self._accounts.get(account)
        if kept is not None:
            kept.asked = False
            kept.told = max(0, kept.told - amount)
        return account, kept

    def _computed(self, told: Computed) -> None:
        answered = self._answered(told.number)
        if answered is None:
            return
        account, kept = answered
        for used in self._used_up.pop(told.number, ()):
            values = (used.amount, used.day) if used.amount else None
            self._store.keep("credit_used", (used.payer, used.account), values, soon=True)
        # The ledger keeps our own.
        if account != self._own:
            self._keep(told)
        if kept is not None:
            before = (kept.direct, kept.through)
            kept.direct, kept.through, kept.at = told.direct, told.through, self._loop.time()
            if before != (kept.direct, kept.through):
                self.changed(account)

    def _keep(self, told: Computed) -> None:
        self.brought += len(told.kept)
        self.refused += told.refused
        # What waits for a full disk is not bounded, and evidence can be brought again.
        if not told.kept or self._store.failing is not None:
            return
        for row in told.kept:
            key, values = (row.relay, row.payer, row.day), (row.seq, row.cum_bytes, row.account, row.dual)
            self._store.keep("evidence", key, values, soon=True)
        if not self._store.get(_WEIGHING, False):
            self._store.put(_WEIGHING, True)

    def _fraud_found(self, proof: bytes) -> None:
        try:
            liar = read_fraud_proof(proof)
        except ReceiptError as error:
            self._end(f"it said what it may not: {error}")
            return
        self.distrust(liar)
        self._fraud(proof)
