"""The payer's end of accounts: shows ours to relays we use, and signs for what we sent through them and no more.

A number is committed to the ledger, safe from a power cut, before the signature for it leaves, so that no crash makes
us sign two receipts that contradict one another. Everything runs on the loop's thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from towpath.credits import receipts
from towpath.credits.account import prove
from towpath.credits.receipts import DAY_S, MIN_STEP, SKIPPED, ReceiptError, day_of, read_dual
from towpath.credits.turns import Turns
from towpath.log import get_logger
from towpath.relaystream.framing import Pace, frame
from towpath.relaystream.messages import (
    MAX_BROUGHT,
    Account,
    Challenge,
    ControlProtocolError,
    Countersigned,
    Due,
    Evidence,
    Known,
    Message,
    Receipt,
    Refused,
    Settle,
    encode,
)

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint
    from towpath._native.session import Session
    from towpath.credits.books import PayerBooks
    from towpath.identity import Identity
    from towpath.relaystream.stream import ControlStream

__all__ = ["Paying", "Stub"]

_KEPT: Final = 4096
"""Relays whose numbers are remembered."""
_SMALL: Final = (64.0, 0.5)
"""Receipts for less than a step that one relay gets, at once and each second from then on: each is a write that waits
for the disk.
"""
_log = get_logger("credits")


class Stub:
    """What is shown and signed on one stream to a relay."""

    __slots__ = ("challenged", "endpoint", "known", "paying", "settled", "shown", "stream", "tasks")

    def __init__(self, stream: ControlStream, endpoint: Endpoint) -> None:
        self.stream = stream
        self.endpoint = endpoint
        self.challenged = False
        self.shown = False
        self.known = asyncio.Event()
        """The relay knows our account, or will not, on this stream."""
        self.paying = False
        self.settled = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()

    def send(self, message: Message) -> None:
        """Says it to the relay."""
        self.stream.send(frame(encode(message)))

    @property
    def relay_id(self) -> bytes:
        """Whom it leads to."""
        return self.stream.session.peer_id


class _Chain:
    """What we sent through one relay, and signed for."""

    __slots__ = ("begun", "ended", "lock", "overbilled", "sessions", "signed", "small")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.sessions: set[Session] = set()
        self.ended = 0
        self.signed = 0
        self.begun: dict[int, tuple[int, int]] = {}
        """Per day, what this process committed last: seq and total."""
        self.overbilled = False
        self.small = Pace(*_SMALL)

    def sent(self) -> int:
        """Bytes that this process gave to circuits through the relay."""
        for session in [session for session in self.sessions if session.closed]:
            self.sessions.discard(session)
            self.ended += session.sent_in_circuits
        return self.ended + sum(session.sent_in_circuits for session in self.sessions)


class Paying:
    """Pays the relays that a node uses, under all its identities. `account` is the node's key for that.

    `show()` says whether accounts are shown at all, `evidence(relay)` are countersigned receipts that may move this
    relay to serve us, `outcomes(relay, day)` how many circuits it brought about and how many failed.
    """

    def __init__(
        self,
        account: Identity,
        books: PayerBooks,
        *,
        show: Callable[[], bool] = lambda: True,
        evidence: Callable[[bytes], list[bytes]] = lambda relay: [],
        outcomes: Callable[[bytes, int], tuple[int, int]] = lambda relay, day: (0, 0),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.account = account
        self.on_refused: Callable[[bytes, Refused], None] = lambda relay, refused: None
        """Called with each reason for which a relay refuses us something."""
        self._books = books
        self._show = show
        self._evidence = evidence
        self._outcomes = outcomes
        self._clock = clock
        self._turns = Turns()
        self._stubs: set[Stub] = set()
        self._chains: dict[bytes, _Chain] = {}

    # --- for the control stream ----------------------------------------------------------------

    def came(self, stream: ControlStream, endpoint: Endpoint) -> Stub:
        """We have a control stream at a relay."""
        stub = Stub(stream, endpoint)
        self._stubs.add(stub)
        return stub

    def heard(self, stub: Stub, message: Challenge | Known | Due | Countersigned) -> None:
        """The relay said something. ControlProtocolError ends the stream."""
        if isinstance(message, Challenge):
            if stub.challenged:
                raise ControlProtocolError("a second challenge")
            stub.challenged = True
            if self._show():
                self._do(stub, lambda: self._shown(stub, message.nonce))
            else:
                stub.known.set()
        elif not stub.shown:
            raise ControlProtocolError("no account was shown")
        elif isinstance(message, Known):
            if stub.known.is_set():
                raise ControlProtocolError("an account that it knows already")
            stub.known.set()
            self._spawn(stub, self._go_on(stub, message.last))
        elif isinstance(message, Due):
            if not stub.paying:
                # Otherwise it asks again if what is being signed does not content it.
                stub.paying = True
                self._spawn(stub, self._pay(stub, message))
        else:
            self._do(stub, lambda: self._countersigned(stub, message.receipt))

    def settled(self, stub: Stub) -> None:
        """The relay says that nothing is left to sign."""
        stub.settled.set()

    def ended(self, stub: Stub) -> None:
        """A stream is over."""
        self._stubs.discard(stub)
        stub.known.set()
        stub.settled.set()

    # --- life ----------------------------------------------------------------------------------

    def owes(self, stub: Stub) -> bool:
        """Have we sent anything through this relay that we have not signed for?"""
        chain = self._chains.get(stub.relay_id)
        return stub.shown and chain is not None and self._sent(chain, stub) > chain.signed

    async def settle(self, seconds: float) -> None:
        """Signs for the rest everywhere; returns when the relays are content, after so many seconds at most."""
        open_ones = [stub for stub in self._stubs if stub.shown and stub.known.is_set() and not stub.stream.over]
        for stub in open_ones:
            self.leave(stub)
        if open_ones:
            waits = [asyncio.ensure_future(stub.settled.wait()) for stub in open_ones]
            try:
                await asyncio.wait(waits, timeout=seconds)
            finally:
                for wait in waits:
                    wait.cancel()

    def leave(self, stub: Stub) -> None:
        """Tells a relay that we leave, so that it asks for the rest; `stub.settled` comes, or the stream ends."""
        stub.settled.clear()
        stub.send(Settle())

    def close(self) -> None:
        """Signs nothing more."""
        self._turns.close()
        for stub in self._stubs:
            for task in stub.tasks:
                task.cancel()

    # --- showing -------------------------------------------------------------------------------

    def _shown(self, stub: Stub, nonce: bytes) -> None:
        stub.shown = True
        proof = prove(self.account.seed, stub.relay_id, stub.endpoint.peer_id, nonce)
        stub.send(Account(proof))
        brought = self._evidence(stub.relay_id)[: receipts.MAX_EVIDENCE]
        for at in range(0, len(brought), MAX_BROUGHT):
            more = at + MAX_BROUGHT < len(brought)
            stub.send(Evidence(tuple(brought[at : at + MAX_BROUGHT]), more))

    async def _go_on(self, stub: Stub, last: bytes | None) -> None:
        # A receipt may have been signed and never have come: then it is said again, the same total under the same seq.
        relay, chain = stub.relay_id, self._chain(stub)
        said = None if last is None else await self._own(last, relay)
        async with chain.lock:
            if said is not None:
                seq, cum = self._committed(chain, relay, said.day) or (0, 0)
                if said.seq > seq:
                    # We have forgotten it, and maybe others behind it; our own signature says so.
                    chain.begun[said.day] = (said.seq + SKIPPED, max(cum, said.cum_bytes))
            today = day_of(self._clock())
            newest = self._books.last_signed(relay, today)
            if (
                newest is not None
                and today not in chain.begun
                and (said is None or (said.day, said.seq) < (today, newest[0]))
            ):
                await self._sign(stub, today, *newest)

    async def _own(self, raw: bytes, relay: bytes) -> receipts.Receipt | None:
        found: asyncio.Future[receipts.Receipt | None] = asyncio.get_running_loop().create_future()

        def read() -> None:
            try:
                receipt = receipts.read_receipt(raw)
            except ReceiptError:
                found.set_result(None)
                return
            ours = receipt.payer == self.account.public_key and receipt.relay == relay
            found.set_result(receipt if ours else None)

        self._turns.do(read)
        return await found

    # --- signing -------------------------------------------------------------------------------

    async def _pay(self, stub: Stub, due: Due) -> None:
        try:
            await self._pay_for(stub, due)
        finally:
            stub.paying = False

    async def _pay_for(self, stub: Stub, due: Due) -> None:
        relay, chain = stub.relay_id, self._chain(stub)
        now = self._clock()
        if abs(due.day - day_of(now)) > 1:
            _log.warning("receipt_refused", why="the relay's day is not ours", relay_day=due.day, day=day_of(now))
            return
        async with chain.lock:
            covered = min(due.bytes, self._sent(chain, stub) - chain.signed)
            if covered < due.bytes and not chain.overbilled:
                chain.overbilled = True
                _log.info("relay_bills_more", asked=due.bytes, sent=covered)
            if covered <= 0 or (covered < MIN_STEP and not chain.small.take(time.monotonic())):
                return
            seq, cum = self._next(chain, relay, due.day)
            cum += covered
            if not await self._books.commit_seq(relay, due.day, seq, cum):
                # The number is lost, the bytes are not: the relay asks again.
                chain.begun[due.day] = (seq, cum - covered)
                return
            chain.begun[due.day] = (seq, cum)
            chain.signed += covered
            if covered >= MIN_STEP:
                stub.stream.may_say_more(2)
            await self._sign(stub, due.day, seq, cum)

    def _next(self, chain: _Chain, relay: bytes, day: int) -> tuple[int, int]:
        """The next number of a day, and the total so far."""
        begun = chain.begun.get(day)
        if begun is not None:
            return begun[0] + 1, begun[1]
        while len(chain.begun) > 2:
            del chain.begun[min(chain.begun)]
        known = self._books.last_signed(relay, day)
        if known is None:
            # By the clock, so that a ledger that was lost does not begin again with a number that was given.
            return 1 + max(0, round((self._clock() - day * DAY_S) * 1000)), 0
        return known[0] + (1 + SKIPPED if self._books.unclean else 1), known[1]

    def _committed(self, chain: _Chain, relay: bytes, day: int) -> tuple[int, int] | None:
        return chain.begun.get(day) or self._books.last_signed(relay, day)

    async def _sign(self, stub: Stub, day: int, seq: int, cum: int) -> None:
        ok, fail = self._outcomes(stub.relay_id, day)
        receipt = receipts.Receipt(1, stub.relay_id, self.account.public_key, day, seq, cum, ok, fail)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def sign() -> None:
            if not stub.stream.over:
                stub.send(Receipt(receipts.sign(receipt, self.account.seed)))
            done.set_result(None)

        self._turns.do(sign)
        await done

    def _countersigned(self, stub: Stub, dual: bytes) -> None:
        signed = read_dual(dual)
        if signed.receipt.payer != self.account.public_key or signed.receipt.relay != stub.relay_id:
            raise ControlProtocolError("a countersigned receipt that is not ours")
        self._books.owed(signed, self._clock())

    # --- what belongs to whom ------------------------------------------------------------------

    def _chain(self, stub: Stub) -> _Chain:
        relay = stub.relay_id
        chain = self._chains.get(relay)
        if chain is None:
            chain = self._chains[relay] = _Chain()
            for known in list(self._chains):
                if len(self._chains) <= _KEPT:
                    break
                if not self._chains[known].sessions and not self._chains[known].lock.locked():
                    del self._chains[known]
        chain.sessions.add(stub.stream.session)
        return chain

    def _sent(self, chain: _Chain, stub: Stub) -> int:
        peer = stub.endpoint.peers.get(stub.relay_id)
        chain.sessions.update(() if peer is None else (one for one in peer.sessions if not one.via))
        return chain.sent()

    def _do(self, stub: Stub, work: Callable[[], None]) -> None:
        def guarded() -> None:
            if stub.stream.over:
                return
            try:
                work()
            except (ReceiptError, ControlProtocolError) as error:
                stub.stream.end(str(error))

        self._turns.do(guarded)

    @staticmethod
    def _spawn(stub: Stub, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        stub.tasks.add(task)
        task.add_done_callback(stub.tasks.discard)
