"""The relay's end of accounts: who is shown, what each sender sent, receipts asked for, checked and countersigned.

Everything runs on the loop's thread; a signature is made or checked in a turn of the loop of its own. Which bytes count
is decided natively (native/purse.pyx), what a receipt covers in `bill`, what is kept in the ledger (`books`).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from towpath.credits.account import AccountError, read_proof
from towpath.credits.bill import Bill, Contradiction
from towpath.credits.free_tier import prefix_of
from towpath.credits.receipts import (
    MAX_EVIDENCE,
    MIN_STEP,
    ReceiptError,
    Signed,
    countersign,
    day_of,
    fraud_proof,
    read,
)
from towpath.credits.turns import Turns
from towpath.log import get_logger
from towpath.relaystream.framing import frame
from towpath.relaystream.messages import (
    Account,
    Challenge,
    ControlProtocolError,
    Countersigned,
    Due,
    Evidence,
    Known,
    Message,
    Receipt,
    Settle,
    Settled,
    encode,
)

if TYPE_CHECKING:
    from towpath._native.circuit import Circuit
    from towpath._native.endpoint import Endpoint
    from towpath._native.hop import Relay
    from towpath.credits.books import RelayBooks
    from towpath.identity import Identity
    from towpath.relaystream.stream import ControlStream

__all__ = ["PATIENCE_S", "QUIET_S", "Billing", "Tab"]

PATIENCE_S: Final = 10.0
"""How long a sender who has sent all it may waits for its own signature before it counts as a free rider."""
QUIET_S: Final = 15.0
"""An account that sends nothing for so long is asked for what is left."""
_TICK_S: Final = 1.0
_AT_A_TIME: Final = 64
"""Circuits that are counted, and accounts that are looked at, in one turn of the loop."""
_log = get_logger("credits")


class Bringing(Protocol):
    """Who takes evidence."""

    def __call__(self, account: bytes, duals: list[bytes], network: bytes, /) -> None:
        """An account brought, from this network, what are to be countersigned receipts; no signature is checked yet."""


class Tab:
    """What one client's stream has shown."""

    __slots__ = ("bill", "brought", "evidence", "nonce", "settling", "shown", "stream")

    def __init__(self, stream: ControlStream) -> None:
        self.stream = stream
        self.nonce = secrets.token_bytes(32)
        self.shown = False
        self.bill: Bill | None = None
        self.brought = 0
        self.evidence: list[bytes] = []
        self.settling = False

    def send(self, message: Message) -> None:
        """Says it to the client."""
        self.stream.send(frame(encode(message)))

    @property
    def peer_id(self) -> bytes:
        """The client's."""
        return self.stream.session.peer_id

    @property
    def network(self) -> bytes:
        """The client's, see free_tier."""
        return prefix_of(self.stream.session.remote)


class Billing:
    """Bills the senders of one relay. `key` is the relay's, `account` that of its owner, told in countersignatures."""

    def __init__(
        self,
        endpoint: Endpoint,
        key: Identity,
        account: bytes | None,
        books: RelayBooks,
        *,
        bring: Bringing | None = None,
        clock: Callable[[], float] = time.time,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.may_ride: Callable[[bytes, bytes], bool] = lambda peer_id, account: True
        """(peer, account): may a sender that did not sign go on without? Otherwise its circuits are closed."""
        self.shown: Callable[[bytes, bytes], None] = lambda peer_id, account: None
        """Called with a peer, and the account that it has just shown."""
        self.weigh: Callable[[bytes, Callable[[], None]], None] = lambda account, go_on: go_on()
        """(account, go_on): calls `go_on` when what the account is worth is known, before which the peer asks for no
        circuit; soon, whatever happens."""
        self._endpoint = endpoint
        self._key = key
        self._account = account
        self._books = books
        self._bring = bring
        self._clock = clock
        self._patience_s = patience_s
        self._relay: Relay | None = None
        self._turns = Turns()
        self._tabs: dict[bytes, Tab] = {}
        self._bills: dict[bytes, Bill] = {}
        self._of_bill: dict[bytes, list[Tab]] = {}
        self._quiet: dict[bytes, tuple[int, float]] = {}
        self._round: list[Circuit] = []
        self._to_look_at: list[bytes] = []
        self._looking: asyncio.Handle | None = None
        self._counting: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._calm = asyncio.Event()
        self._safe: set[asyncio.Future[bool]] = set()

    # --- life ----------------------------------------------------------------------------------

    def follow(self, relay: Relay | None) -> None:
        """Counts the circuits of this relay from now on, and for the last time those of the one before."""
        if relay is self._relay:
            return
        if self._relay is not None:
            for circuit in list(self._relay.circuits.values()):
                self._count(circuit)
            self._relay.circuit_billed = None
            # Who goes while nothing is relayed would come back to a purse that nobody signs for.
            for tab in self._tabs.values():
                self._relay.bill(tab.peer_id, None)
        self._relay = relay
        self._round.clear()
        if relay is None:
            for handle in (self._timer, self._counting, self._looking):
                if handle is not None:
                    handle.cancel()
            self._timer = self._counting = self._looking = None
            self._to_look_at.clear()
            return
        relay.circuit_billed = self._count
        for tab in self._tabs.values():
            if tab.bill is not None and not tab.bill.rider:
                relay.bill(tab.peer_id, tab.bill.purse)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def close(self) -> None:
        """Counts for the last time, and does nothing more."""
        self.follow(None)
        self._turns.close()

    def account_of(self, peer_id: bytes) -> bytes | None:
        """Whose account this peer has shown and signs for."""
        tab = self._tabs.get(peer_id)
        return None if tab is None or tab.bill is None or tab.bill.rider else tab.bill.account

    def shown_by(self, peer_id: bytes) -> bytes | None:
        """Whose account this peer has shown, whether or not it signs."""
        tab = self._tabs.get(peer_id)
        return None if tab is None or tab.bill is None else tab.bill.account

    def peers_of(self, account: bytes) -> list[bytes]:
        """Who has shown this account."""
        return [tab.peer_id for tab in self._of_bill.get(account, ())]

    def shown_accounts(self) -> dict[bytes, bytes]:
        """Peers that have shown accounts, with these."""
        return {tab.peer_id: tab.bill.account for tab in self._tabs.values() if tab.bill is not None}

    async def settle(self, seconds: float) -> None:
        """Asks everybody for what is left to sign, and countersigns; the relay is about to stop. So long at most."""
        for tab in list(self._tabs.values()):
            if tab.bill is not None:
                self._settle(tab)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(tab.settling for tab in self._tabs.values()):
                    self._calm.clear()
                    await self._calm.wait()

    # --- for the control stream ----------------------------------------------------------------

    def came(self, stream: ControlStream) -> Tab:
        """A client has a control stream: it may show its account."""
        tab = Tab(stream)
        self._tabs[tab.peer_id] = tab
        tab.send(Challenge(tab.nonce))
        return tab

    def heard(self, tab: Tab, message: Account | Evidence | Receipt | Settle) -> None:
        """A client said something. ControlProtocolError ends its stream."""
        if isinstance(message, Account):
            if tab.shown:
                raise ControlProtocolError("a second account")
            tab.shown = True
            self._do(tab, lambda: self._show(tab, message))
        elif not tab.shown:
            raise ControlProtocolError("no account was shown")
        elif isinstance(message, Evidence):
            tab.brought += len(message.receipts)
            if tab.brought > MAX_EVIDENCE:
                raise ControlProtocolError(f"more than {MAX_EVIDENCE} receipts as evidence")
            tab.evidence += message.receipts
            if not message.more:
                self._do(tab, lambda: self._brought(tab))
        elif isinstance(message, Receipt):
            self._do(tab, lambda: self._take(tab, message.receipt))
        else:
            self._do(tab, lambda: self._settle(tab))

    def ended(self, tab: Tab) -> None:
        """Its stream is over; what it sends from now on is nobody's in particular."""
        self._calm.set()
        if self._tabs.get(tab.peer_id) is tab:
            del self._tabs[tab.peer_id]
            if self._relay is not None:
                pays = tab.bill is not None and not tab.bill.rider
                for circuit in self._relay.circuits_of(tab.peer_id) if pays else ():
                    self._count(circuit, tab)
                self._relay.bill(tab.peer_id, None)
        bill = tab.bill
        tab.bill = None
        if bill is None:
            return
        tabs = self._of_bill[bill.account]
        tabs.remove(tab)
        if not tabs:
            del self._of_bill[bill.account], self._bills[bill.account]
            self._quiet.pop(bill.account, None)

    def _do(self, tab: Tab, work: Callable[[], None]) -> None:
        def guarded() -> None:
            if tab.stream.over:
                return
            try:
                work()
            except (AccountError, ReceiptError, ControlProtocolError) as error:
                tab.stream.end(str(error))

        if not self._turns.do(guarded):
            raise ControlProtocolError("more signatures to check than there is time for")

    def leaving(self, tab: Tab) -> bool:
        """The stream serves nothing else any more: does it still wait for a receipt? Asks for what is left."""
        bill = tab.bill
        if bill is None or bill.owed() <= 0 or (bill.asked and time.monotonic() - bill.asked_at > self._patience_s):
            return False
        self._ask(bill.account)
        return True

    # --- accounts and evidence -----------------------------------------------------------------

    def _show(self, tab: Tab, message: Account) -> None:
        account = read_proof(message.proof, self._endpoint.peer_id, tab.peer_id, tab.nonce)
        now = self._clock()
        bill = self._bills.get(account)
        if bill is None:
            bill = self._bills[account] = Bill(
                self._endpoint.reactor,
                account,
                lambda: self._ask(account),
                lambda day: self._books.last_paid(account, day),
                self._books.paid_for(account),
                self._books.debt(account, now),
                now,
            )
        # What came before is nobody's in particular.
        if self._relay is not None:
            for circuit in self._relay.circuits_of(tab.peer_id):
                self._count(circuit)
        tab.bill = bill
        self._of_bill.setdefault(account, []).append(tab)
        if self._relay is not None and not bill.rider:
            self._relay.bill(tab.peer_id, bill.purse)
        last = bill.last(day_of(now))
        self.shown(tab.peer_id, account)
        self.weigh(account, lambda: None if tab.stream.over else tab.send(Known(None if last is None else last.raw)))
        _log.debug("account_shown", account=account.hex()[:12])

    def _brought(self, tab: Tab) -> None:
        duals, tab.evidence = tab.evidence, []
        if tab.bill is not None and self._bring is not None:
            self._bring(tab.bill.account, duals, tab.network)

    # --- receipts ------------------------------------------------------------------------------

    def _ask(self, account: bytes) -> None:
        bill = self._bills.get(account)
        if bill is None:
            return
        owed = bill.owed()
        # One question at a time: who has ridden would answer two with more than it owes. But with a debt the first may
        # have no answer: a payer that was killed knows nothing of that.
        if owed <= bill.asked or (bill.asked and not bill.debt):
            return
        bill.asked = owed
        bill.asked_at = time.monotonic()
        bill.asked_day = day_of(self._clock())
        self._of_bill[account][-1].send(Due(bill.asked_day, owed))

    def _take(self, tab: Tab, raw: bytes) -> None:
        signed = read(raw)
        receipt, bill = signed.receipt, tab.bill
        if bill is None or receipt.payer != bill.account or receipt.relay != self._endpoint.peer_id:
            raise ControlProtocolError("a receipt for somebody else, or of somebody else")
        now = self._clock()
        today = day_of(now)
        if abs(receipt.day - today) > 1:
            raise ControlProtocolError("a receipt of another day; check both clocks")
        believable = bill.believable()
        try:
            covered = bill.take(signed)
        except Contradiction as found:
            first, second = found.receipts
            self._books.fraud(fraud_proof(first.raw, second.raw), now)
            raise ControlProtocolError("a receipt that contradicts another one") from found
        if covered:
            if covered >= MIN_STEP:
                tab.stream.may_say_more(1)
            self._no_rider(bill)
            safe = self._books.paid(bill.account, signed, min(covered, believable), now, tab.network)
            bill.writing += 1
            taken = bill.taken(signed.receipt.day)
            self._safe.add(safe)
            safe.add_done_callback(lambda done: self._is_safe(tab, bill, signed, taken, done))
        elif tab.settling:
            self._finish(tab)

    def _is_safe(self, tab: Tab, bill: Bill, signed: Signed, taken: int, done: asyncio.Future[bool]) -> None:
        self._safe.discard(done)
        bill.writing -= 1
        if done.cancelled() or not done.result():
            return
        bill.kept(signed, taken)
        if tab.bill is None:
            return
        for wanted in bill.to_countersign(day_of(self._clock())):
            self._do_if(tab, wanted)
        for one in list(self._of_bill[bill.account]):
            if one.settling and one.bill is bill:
                # What it was asked for before it wanted to leave may have been less.
                self._settle(one)

    def _do_if(self, tab: Tab, signed: Signed) -> None:
        self._turns.do(lambda: self._countersign(tab, signed))

    def _countersign(self, tab: Tab, signed: Signed) -> None:
        dual = countersign(signed.raw, self._key.seed, self._account)
        self._books.countersigned(signed._replace(dual=dual, relay_account=self._account), self._clock())
        tab.send(Countersigned(dual))

    def _settle(self, tab: Tab) -> None:
        bill = tab.bill
        if bill is None:
            raise ControlProtocolError("nothing is to be settled")
        tab.settling = True
        if bill.purse.carried > bill.purse.signed:
            self._ask(bill.account)
        elif not bill.writing:
            self._finish(tab)

    def _finish(self, tab: Tab) -> None:
        # Behind what is countersigned in the turns to come.
        bill = tab.bill
        if bill is not None:
            for signed in bill.to_countersign(day_of(self._clock()), at_once=True):
                self._do_if(tab, signed)
            self._do(tab, lambda: self._settled(tab))

    def _settled(self, tab: Tab) -> None:
        tab.settling = False
        tab.send(Settled())
        self._calm.set()

    # --- time ----------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)
        if self._relay is None:
            return
        if not self._round and self._relay.circuits:
            self._round = list(self._relay.circuits.values())
            self._count_some()
        if not self._to_look_at and self._bills:
            self._to_look_at = list(self._bills)
            self._look_at_some()

    def _look_at_some(self) -> None:
        self._looking = None
        now, wall = time.monotonic(), self._clock()
        for account in self._to_look_at[-_AT_A_TIME:]:
            bill = self._bills.get(account)
            if bill is not None:
                self._look_at(account, bill, now, wall)
        del self._to_look_at[-_AT_A_TIME:]
        if self._to_look_at:
            self._looking = asyncio.get_running_loop().call_soon(self._look_at_some)

    def _look_at(self, account: bytes, bill: Bill, now: float, wall: float) -> None:
        bill.fade(wall)
        counted = bill.purse.carried
        seen, since = self._quiet.get(account, (-1, now))
        if counted != seen:
            seen, since = self._quiet[account] = counted, now
        if bill.asked and (late := now - bill.asked_at) > self._patience_s:
            if bill.purse.short and since < now and not bill.rider:
                # It has sent all it may, and stands still.
                self._rides(bill)
            elif late > 3 * self._patience_s:
                # It may have been lost with a connection, or the client counted less then.
                bill.asked = 0
                if counted > bill.purse.signed:
                    self._ask(account)
        for signed in bill.to_countersign(day_of(wall)):
            self._do_if(self._of_bill[account][-1], signed)
        if now - since > QUIET_S:
            bill.rest()
            if counted > bill.purse.signed:
                self._quiet[account] = counted, now
                self._ask(account)

    def _rides(self, bill: Bill) -> None:
        bill.rider = True
        _log.info("unsigned", account=bill.account.hex()[:12], bytes=bill.owed())
        for tab in list(self._of_bill[bill.account]):
            if self._relay is None:
                return
            mine = self._relay.circuits_of(tab.peer_id)
            for circuit in mine:
                self._count(circuit, tab)
            if not self.may_ride(tab.peer_id, bill.account):
                # With what waits in them for a signature.
                for circuit in mine:
                    circuit.close()
            self._relay.bill(tab.peer_id, None)

    def _no_rider(self, bill: Bill) -> None:
        if not bill.rider:
            return
        bill.rider = False
        for tab in self._of_bill[bill.account]:
            if self._relay is not None:
                self._relay.bill(tab.peer_id, bill.purse)

    # --- counting ------------------------------------------------------------------------------

    def _count_some(self) -> None:
        self._counting = None
        for circuit in self._round[-_AT_A_TIME:]:
            self._count(circuit)
        del self._round[-_AT_A_TIME:]
        if self._round:
            self._counting = asyncio.get_running_loop().call_soon(self._count_some)

    def _count(self, circuit: Circuit, was: Tab | None = None) -> None:
        # Each end pays for what it sent. `was`: whose account counts still, though it is about to count no more.
        there, back = circuit.take()
        if there:
            self._carried(circuit.dialer_id, circuit.dialer_remote, there, was)
        if back:
            self._carried(circuit.target_id, circuit.target_remote, back, was)

    def _carried(self, peer_id: bytes, remote: bytes, n: int, was: Tab | None) -> None:
        payer = self.account_of(peer_id)
        if was is not None and was.bill is not None and was.peer_id == peer_id:
            payer = was.bill.account
        self._books.carried(payer, prefix_of(remote), n, self._clock())
