"""One process that computes credit, as its node sees it: told what is known, asked, and what it finds written down.

Used by `Credit` alone, which imports it when there is something to weigh. It never waits for the process.
"""

from __future__ import annotations

import asyncio
import random
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
    Standing,
    Stored,
    Take,
    Trouble,
    UsedRow,
    UsedUp,
    Walk,
    decode_from_child,
)
from towpath.credits.credit_service import WEIGHING, Counts
from towpath.credits.receipts import MAX_EVIDENCE
from towpath.log import get_logger
from towpath.packets import encode

if TYPE_CHECKING:
    from towpath.store import Store

__all__ = ["Weigher"]

SILENT_S: Final = 60.0
"""A process that says nothing for so long, although it was asked, is ended."""
_log = get_logger("credit")


class Weigher:
    """A process of its own, until it is ended.

    `stands(account, used, found)` is called with each answer about an account: what of it was told to be used before,
    and what it has, directly and through others; None: that could not be found out. `scored` and `fraud` are called
    with the scores of a walk and with proofs, `ended` once when the process is gone, whoever ended it.
    """

    def __init__(
        self,
        store: Store,
        own: bytes,
        clock: Callable[[], float],
        counts: Counts,
        *,
        stands: Callable[[bytes, int, tuple[int, int] | None], None],
        scored: Callable[[dict[bytes, float]], None],
        fraud: Callable[[bytes], None],
        ended: Callable[[Weigher, str], None],
    ) -> None:
        self._store = store
        self._own = own
        self._clock = clock
        self._counts = counts
        self._stands = stands
        self._scored = scored
        self._fraud = fraud
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._next = 1
        self._questions: dict[int, tuple[bytes, int]] = {}
        """Whom a question under way is about, and what it says that this account used."""
        self._used_up: dict[int, list[UsedRow]] = {}
        self._given: dict[bytes, int] = {}
        self._heard_at = 0.0
        self._over = ""
        self._process: ChildProcess[FromNode, FromChild] = ChildProcess(
            "towpath.credits.computing", encode, decode_from_child, self._hear, self._gone
        )
        self.spoke = 0.0
        """When it was last told or asked anything, on the loop's clock."""

    # --- life ----------------------------------------------------------------------------------

    async def start(self, liars: Iterable[bytes], duals: Sequence[bytes]) -> None:
        """Starts the process and tells it all that is written down. OSError when there is none to be had."""
        evidence = await self._store.rows("evidence")
        used = await self._store.rows("credit_used")
        await self._process.start()
        try:
            for message in self._all_that_is_known(liars, evidence, used, duals):
                self._process.say(message)
                # Ten thousand receipts are too much for one turn of the loop.
                await asyncio.sleep(0)
                if self._over:
                    raise ChildProcessError(self._over)
        except asyncio.CancelledError:
            await self.stop()
            raise
        self.spoke = self._heard_at = self._loop.time()

    def _all_that_is_known(
        self,
        liars: Iterable[bytes],
        evidence: Sequence[tuple[Any, ...]],
        used: Sequence[tuple[Any, ...]],
        duals: Sequence[bytes],
    ) -> Iterator[FromNode]:
        yield Begin(self._own)
        for liar in liars:
            yield Distrust(liar)
        for first in range(0, len(evidence), ROWS_AT_ONCE):
            yield Load([Stored(*row) for row in evidence[first : first + ROWS_AT_ONCE]])
        for first in range(0, len(used), USED_AT_ONCE):
            yield LoadUsed([UsedRow(*row) for row in used[first : first + USED_AT_ONCE]])
        for first in range(0, len(duals), MAX_EVIDENCE):
            number = self._number(self._own)
            yield Bring(number, self._own, list(duals[first : first + MAX_EVIDENCE]), self._clock())

    def end(self, why: str) -> None:
        """Ends it, if it still runs."""
        self._process.end(why)

    async def stop(self) -> None:
        """Ends it, and returns when it has left the system."""
        self._process.end("the node stops")
        await self._process.gone()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def busy(self) -> bool:
        """Is there a question that it has not answered?"""
        return bool(self._questions)

    @property
    def under_way(self) -> int:
        """Questions that it has not answered."""
        return len(self._questions)

    # --- telling and asking --------------------------------------------------------------------

    def ask(self, account: bytes) -> None:
        """What has this account?"""
        self._say(Ask(self._number(account), account, self._clock()))

    def take(self, account: bytes, amount: int) -> None:
        """It used so much."""
        self._say(Take(self._number(account, amount), account, amount, self._clock()))

    def bring(self, account: bytes, duals: list[bytes]) -> None:
        """It, or we ourselves, have these countersigned receipts."""
        self._say(Bring(self._number(account), account, duals, self._clock()))

    def walk(self) -> None:
        """Who stands how?"""
        self._say(Walk(self._number(b""), random.getrandbits(62), self._clock()))

    def give(self, edges: Mapping[bytes, int]) -> None:
        """These accounts have so much credit without receipts, and no others."""
        if edges != self._given:
            self._given = dict(edges)
            self._say(Give(list(edges.items())))

    def distrust(self, account: bytes) -> None:
        """What it signs counts no more."""
        self._say(Distrust(account))

    def _number(self, account: bytes, used: int = 0) -> int:
        if not self._questions:
            self._heard_at = self._loop.time()
        self._next += 1
        self._questions[self._next] = (account, used)
        return self._next

    def _say(self, message: FromNode) -> None:
        self.spoke = self._loop.time()
        if self._questions and self.spoke - self._heard_at > SILENT_S:
            self.end("it does not answer")
        self._process.say(message)

    # --- what it says --------------------------------------------------------------------------

    def _gone(self, why: str) -> None:
        self._over = why
        self._questions.clear()
        self._used_up.clear()
        self._ended(self, why)

    def _hear(self, message: FromChild) -> None:
        self._heard_at = self._loop.time()
        match message:
            case Standing():
                self._computed(message)
            case UsedUp(number, rows):
                # Written down when it is known that all of it was counted.
                if number in self._questions:
                    self._used_up.setdefault(number, []).extend(rows)
            case Scores(number, scores):
                if self._questions.pop(number, None) is not None:
                    self._scored(dict(scores))
            case Dropped(keys):
                for key in keys:
                    self._store.keep("evidence", (key.relay, key.payer, key.day), None, soon=True)
            case Fraud(proof):
                self._fraud(proof)
            case Trouble(number, sentence):
                _log.error("credit.trouble", note=f"something in the process that computes credit failed: {sentence}")
                self._used_up.pop(number, None)
                if (question := self._questions.pop(number, None)) is not None:
                    self._stands(*question, None)

    def _computed(self, told: Standing) -> None:
        question = self._questions.pop(told.number, None)
        if question is None:
            return
        account, amount = question
        for used in self._used_up.pop(told.number, ()):
            values = (used.amount, used.day) if used.amount else None
            self._store.keep("credit_used", (used.payer, used.account), values, soon=True)
        # The ledger keeps our own.
        if account != self._own:
            self._keep(told)
        self._stands(account, amount, (told.direct, told.through))

    def _keep(self, told: Standing) -> None:
        self._counts.brought += len(told.kept)
        self._counts.refused += told.refused
        # What waits for a full disk is not bounded, and evidence can be brought again.
        if not told.kept or self._store.failing is not None:
            return
        for row in told.kept:
            key, values = (row.relay, row.payer, row.day), (row.seq, row.cum_bytes, row.account, row.dual)
            self._store.keep("evidence", key, values, soon=True)
        if not self._store.get(WEIGHING, False):
            self._store.put(WEIGHING, True)
