"""What admission asks about credits, and what follows for circuits that are open: promises and weights.

Owned by Credits, on the node's loop. Asking takes microseconds; while the relay is quiet nothing is remembered of who
asks. Behind a loaded relay a few circuits are looked at in each turn.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from towpath.credits.escrow import Escrow, Promise
from towpath.credits.free_tier import UNLIMITED, Tier, prefix_of
from towpath.credits.policy import (
    HEAVY,
    LEAST,
    LIGHT,
    LOADED,
    NO_QUOTA,
    NO_SEATS,
    QUIET,
    Asked,
    Decision,
    Enforce,
    Ground,
    Load,
    QuotaLeft,
    Seats,
    may_go_on,
    reservation_seat,
    share,
    should_accept_circuit,
)
from towpath.credits.weights import Sending, shares
from towpath.relaystream.reasons import Reason, Request

if TYPE_CHECKING:
    from towpath._native.circuit import Circuit
    from towpath._native.endpoint import Endpoint
    from towpath._native.hop import Relay
    from towpath.credits.ledger import Ledger

__all__ = ["Gate", "Judged", "Pass"]

TICK_S: Final = 0.25
_AT_A_TIME: Final = 128
"""Circuits that are looked at in one turn of the loop."""
_LOST_S: Final = 70.0
"""A circuit that was admitted and is not open then never was: both ends had half a minute."""
_BUSY: Final = 16384
"""Bytes between two looks from which on a sender counts as wanting a share; less are requests and answers."""
_REMEMBERED: Final = 512
"""Peers of whom the last decision is known."""


class Pass(NamedTuple):
    """What credits say to a circuit: a limit in bytes each way (None: they set none), or the refusal."""

    limit: int | None = None
    refused: Decision | None = None


_FREE_PASS: Final = Pass()


class Judged(NamedTuple):
    """A decision that was taken with credits in force."""

    at: float
    asked: Asked
    decision: Decision


class _Admitted:
    """A circuit that was let in while credits were in force, or that was found open since."""

    __slots__ = ("at", "checked", "paying", "prefix", "promises", "seen")

    def __init__(self, prefix: bytes, paying: bool, promises: tuple[Promise, Promise] | None, at: float) -> None:
        self.prefix = prefix
        self.paying = paying
        self.promises = promises
        self.at = at
        self.seen = (0, 0)
        self.checked = [0, 0]
        """Of one without a limit: what each end had sent when it was last asked what a newcomer is."""


class Gate:
    """Asked by Admission. `terms()` are `credits.enforce` and the free tier as the settings have them now."""

    def __init__(
        self,
        ledger: Ledger,
        endpoint: Endpoint,
        terms: Callable[[], tuple[Enforce, Tier]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.account_of: Callable[[bytes], bytes | None] = lambda peer_id: None
        """The account that a connected peer has shown and signs for; to be set."""
        self.look_at_load: Callable[[], Load] = lambda: QUIET
        """The shares in use of rate, circuits, reservations and quota now; to be set."""
        self.look_at_quota: Callable[[], tuple[int, float] | None] = lambda: None
        """Bytes that are left of the owner's quota, and until when (Unix time); None: none is set. To be set."""
        self.told: Callable[..., None] = lambda *why, **more: None
        """Explains to a peer why its circuit is ended, see RelaySide.refused; to be set."""
        self._ledger = ledger
        self._endpoint = endpoint
        self._terms = terms
        self._clock = clock
        self._load = QUIET
        self._quota: tuple[int, float] | None = None
        self._escrow = Escrow()
        self._coming: dict[tuple[bytes, bytes], deque[_Admitted]] = {}
        self._open: dict[int, _Admitted] = {}
        self._paying = 0
        self._free = 0
        self._of_prefix: Counter[bytes] = Counter()
        self._round: list[Circuit] = []
        self._seen: Counter[Sending] = Counter()
        self._weights: dict[Sending, float] = {}
        self._limit: int | None = None
        self._judged: dict[bytes, Judged] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.refusals = 0
        """Circuits and reservations refused, and circuits ended, for want of credit, since the start."""

    # --- life ----------------------------------------------------------------------------------

    def follow(self, relay: Relay | None) -> None:
        """Looks after the circuits of this relay from now on; None: there is none any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._forget_all()
        self._load = QUIET
        if relay is not None:
            relay.circuit_began = self.began
            self._tick()

    # --- admission -----------------------------------------------------------------------------

    def connect(
        self, dialer: bytes, target: bytes, remote: bytes, circuits: int, of: int | None, most: int | None
    ) -> Pass:
        """May `dialer` (connected from `remote`) have a circuit to `target`, beside `circuits` of `of` (None: any)?

        `most`: a limit in bytes that the owner set. Each end pays for what it sends, so each has to be good for it.
        """
        enforce, tier = self._terms()
        load = self._load_with(circuits, of)
        self._limit = of
        if enforce == "never" or (enforce == "under_load" and not load.high):
            return _FREE_PASS
        now = self._clock()
        asked = self._asked(dialer, prefix_of(remote), load, enforce, tier, now)
        mine = asked._replace(seats=self._seats(asked.prefix), quota=self._quota_of(asked.prefix))
        decision = should_accept_circuit(mine, now)
        self._remember(dialer, Judged(now, mine, decision))
        if not decision.accept:
            self.refusals += 1
            return Pass(refused=decision)
        theirs = self._asked(target, self._prefix_of_peer(target), load, enforce, tier, now)
        theirs = theirs._replace(quota=self._quota_of(theirs.prefix))
        other = should_accept_circuit(theirs, now)
        self._remember(target, Judged(now, theirs, other))
        if not other.accept:
            self.refusals += 1
            return Pass(refused=_other_end(other))
        limit = min((n for n in (decision.limit_data, other.limit_data, most) if n), default=None)
        promises = None
        if limit is not None:
            promises = (self._promise(mine, decision, limit), self._promise(theirs, other, limit))
        admitted = _Admitted(mine.prefix, decision.ground is Ground.CREDIT, promises, now)
        self._count(admitted, 1)
        self._coming.setdefault((dialer, target), deque()).append(admitted)
        return Pass(limit)

    def reserve(self, peer_id: bytes, reservations: int, of: int | None, of_address: int) -> bool:
        """Is there a seat for one more reservation, as far as credits say?"""
        if of is None or reservations < of - of // 5 or self._terms()[0] == "never":
            return True
        account = self.account_of(peer_id)
        paying = (
            account is not None and not self._ledger.is_rider(account, self._clock()) and self._credit(account) >= LEAST
        )
        relay = self._endpoint.relay
        of_network = 0 if relay is None else relay.reserved_in(self._prefix_of_peer(peer_id))
        seat = reservation_seat(paying, reservations, of, of_address, of_network)
        self.refusals += not seat
        return seat

    def _load_with(self, circuits: int, of: int | None) -> Load:
        now = share(circuits, of)
        return self._load if now <= self._load.circuits else self._load._replace(circuits=now)

    def _credit(self, account: bytes) -> int:
        return self._ledger.source.credit_of(account) - self._escrow.credit(account)

    def _asked(self, peer_id: bytes, prefix: bytes, load: Load, enforce: Enforce, tier: Tier, now: float) -> Asked:
        return self.asked(self.account_of(peer_id), prefix, load, enforce, tier, now)

    def asked(
        self, account: bytes | None, prefix: bytes, load: Load, enforce: Enforce, tier: Tier, now: float
    ) -> Asked:
        """What the policy is asked of somebody, without seats."""
        ledger, escrow = self._ledger, self._escrow
        of_prefix = ledger.free_left(prefix, now) - escrow.free(prefix)
        if account is None:
            return Asked(None, prefix, of_prefix, load=load, enforce=enforce, tier=tier)
        standing = ledger.source.standing(account)
        left = self._credit(account)
        # What others used of the same edges is gone for this account, too.
        earned = max(standing.direct + standing.through, left)
        return Asked(
            account,
            prefix,
            of_prefix,
            ledger.free_left(account, now) - escrow.free(account),
            earned,
            max(0, earned - left),
            load,
            enforce,
            ledger.is_rider(account, now),
            tier,
        )

    def _promise(self, asked: Asked, decision: Decision, limit: int) -> Promise:
        account = None if asked.rider else asked.account
        paying = decision.ground is Ground.CREDIT
        return self._escrow.promise(account, asked.prefix, limit, asked.credit, paying=paying)

    def _quota_of(self, prefix: bytes) -> QuotaLeft:
        if self._quota is None:
            return NO_QUOTA
        left, until = self._quota
        escrow = self._escrow
        return QuotaLeft(left, escrow.paying, escrow.not_paying, escrow.of_prefix(prefix), until)

    def _seats(self, prefix: bytes) -> Seats:
        if self._limit is None:
            return NO_SEATS
        return Seats(self._limit, self._paying, self._free, self._of_prefix[prefix])

    def _count(self, admitted: _Admitted, n: int) -> None:
        if admitted.paying:
            self._paying += n
        else:
            self._free += n
            self._of_prefix[admitted.prefix] += n
            if not self._of_prefix[admitted.prefix]:
                del self._of_prefix[admitted.prefix]

    def _remember(self, peer_id: bytes, judged: Judged) -> None:
        self._judged.pop(peer_id, None)
        if len(self._judged) >= _REMEMBERED:
            del self._judged[next(iter(self._judged))]
        self._judged[peer_id] = judged

    # --- what is open --------------------------------------------------------------------------

    def began(self, circuit: Circuit) -> None:
        """A circuit has begun."""
        if self._coming:
            admitted = self._arrived(circuit)
            if admitted is not None:
                self._open[circuit.id] = admitted

    def ended(self, circuit: Circuit) -> None:
        """A circuit has ended, and all its bytes are in the ledger."""
        admitted = self._open.pop(circuit.id, None)
        if admitted is not None:
            self._let_go(admitted)

    def _arrived(self, circuit: Circuit) -> _Admitted | None:
        key = (circuit.dialer_id, circuit.target_id)
        waiting = self._coming.get(key)
        if waiting is None:
            return None
        admitted = waiting.popleft()
        if not waiting:
            del self._coming[key]
        return admitted

    def _let_go(self, admitted: _Admitted) -> None:
        self._count(admitted, -1)
        for promise in admitted.promises or ():
            self._escrow.end(promise)

    def _tick(self) -> None:
        # Whatever goes wrong with one circuit, the load is looked at again.
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        self._load = self.look_at_load()
        self._quota = self.look_at_quota() if self._load.quota >= LOADED else None
        relay = self._endpoint.relay
        if relay is None:
            return
        if self._terms()[0] == "never" or not (self.enforced or self._coming or self._escrow):
            self._forget_all()
            return
        self._forget_lost(relay.connecting)
        if self._look_at_some(relay.circuits):
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(TICK_S / 8, self._tick)

    def _forget_all(self) -> None:
        for admitted in [*self._open.values(), *(one for waiting in self._coming.values() for one in waiting)]:
            self._let_go(admitted)
        self._open.clear()
        self._coming.clear()
        self._round.clear()

    def _forget_lost(self, connecting: int) -> None:
        # Of a CONNECT that fails nobody is told.
        now = self._clock()
        for key, waiting in list(self._coming.items()):
            # Those of times to come are of a clock that was set back since.
            while waiting and (connecting == 0 or not now - _LOST_S <= waiting[0].at <= now):
                self._let_go(waiting.popleft())
            if not waiting:
                del self._coming[key]

    def _look_at_some(self, circuits: dict[int, Circuit]) -> bool:
        """Looks at the next circuits of this round; are more left?"""
        if not self._round:
            self._weights = shares(self._seen)
            self._seen = Counter()
            self._round = list(circuits.values())
        now = self._clock()
        looked_at = self._round[-_AT_A_TIME:]
        del self._round[-_AT_A_TIME:]
        for circuit in looked_at:
            if circuit.id in circuits:
                self._look_at(circuit, now)
        return bool(self._round)

    def _look_at(self, circuit: Circuit, now: float) -> None:
        admitted = self._open.get(circuit.id)
        if admitted is None:
            admitted = self._open[circuit.id] = self._found(circuit, now)
        moved = (circuit.bytes_in, circuit.bytes_out)
        if admitted.promises is None and self.enforced and not self._goes_on(circuit, admitted, moved, now):
            circuit.close()
            return
        if admitted.promises is not None:
            # What had moved at the last look is in the ledger by now.
            for promise, used in zip(admitted.promises, admitted.seen, strict=True):
                self._escrow.use(promise, used)
        weights = []
        ends = (circuit.dialer_id, admitted.prefix), (circuit.target_id, None)
        for (peer_id, prefix), now_sent, before in zip(ends, moved, admitted.seen, strict=True):
            sending = self._sending(peer_id, prefix)
            if now_sent - before >= _BUSY:
                self._seen[sending] += 1
            weights.append(self._weights.get(sending, HEAVY if sending.paying else LIGHT))
        admitted.seen = moved
        circuit.weigh(*weights)

    def _found(self, circuit: Circuit, now: float) -> _Admitted:
        prefix = self._prefix_of_peer(circuit.dialer_id)
        found = _Admitted(prefix, self._sending(circuit.dialer_id, prefix).paying, None, now)
        found.checked = [circuit.bytes_in, circuit.bytes_out]
        self._count(found, 1)
        return found

    def _goes_on(self, circuit: Circuit, admitted: _Admitted, moved: tuple[int, int], now: float) -> bool:
        """A circuit that was let in while the relay was quiet has no limit: each end is looked at behind every mebibyte
        that it sends. If it does not go on, both are told why.
        """
        ends = (circuit.dialer_id, circuit.target_id)
        enforce, tier = self._terms()
        for end, peer_id in enumerate(ends):
            if moved[end] - admitted.checked[end] < LEAST:
                continue
            admitted.checked[end] = moved[end]
            prefix = self._prefix_of_peer(peer_id)
            asked = self._asked(peer_id, prefix, self._load, enforce, tier, now)
            asked = asked._replace(quota=self._quota_of(prefix))
            decision = may_go_on(asked, now)
            if decision.accept:
                continue
            self._remember(peer_id, Judged(now, asked, decision))
            self.refusals += 1
            for one, other, why in ((end, 1 - end, decision), (1 - end, end, _other_end(decision))):
                self.told(
                    ends[one],
                    Request.CONNECT,
                    why.code,
                    why.have,
                    why.limit,
                    again_at=why.again_at,
                    target=ends[other],
                )
            return False
        return True

    def _sending(self, peer_id: bytes, prefix: bytes | None) -> Sending:
        account = self.account_of(peer_id)
        # Of what is promised to a circuit there may be little left: it is paid for all the same.
        if (
            account is None
            or self._ledger.is_rider(account, self._clock())
            or self._ledger.source.credit_of(account) <= 0
        ):
            return Sending(self._prefix_of_peer(peer_id) if prefix is None else prefix, False)
        return Sending(account, True)

    def _prefix_of_peer(self, peer_id: bytes) -> bytes:
        peer = self._endpoint.peers.get(peer_id)
        for session in () if peer is None else peer.sessions:
            if not session.via:
                return prefix_of(session.remote)
        return b""

    # --- what it says --------------------------------------------------------------------------

    @property
    def load(self) -> Load:
        """What is in use of each thing that can run out."""
        return self._load

    def promised(self, account: bytes) -> int:
        """Bytes of an account's credit that are promised to open circuits."""
        return self._escrow.credit(account)

    @property
    def enforced(self) -> bool:
        """Is anything asked in return now?"""
        enforce = self._terms()[0]
        return enforce == "always" or (enforce == "under_load" and self._load.high)

    def judge(self, account: bytes | None, prefix: bytes, now: float) -> Judged:
        """What would be decided now for somebody who asked for a circuit."""
        enforce, tier = self._terms()
        asked = self.asked(account, prefix, self._load, enforce, tier, now)
        asked = asked._replace(seats=self._seats(prefix), quota=self._quota_of(prefix))
        return Judged(now, asked, should_accept_circuit(asked, now))

    def last(self, peer_id: bytes) -> Judged | None:
        """The last decision about a peer while credits were in force."""
        return self._judged.get(peer_id)

    def known_as(self, peer_id: bytes) -> tuple[bytes | None, bytes]:
        """Account and network of a connected peer, or of the last time that it asked; (None, b"") of a stranger."""
        prefix = self._prefix_of_peer(peer_id)
        if prefix:
            return self.account_of(peer_id), prefix
        judged = self._judged.get(peer_id)
        return (None, b"") if judged is None else (judged.asked.account, judged.asked.prefix)

    def priority(self, account: bytes, prefix: bytes, now: float) -> tuple[bool, int, int]:
        """Does an account come first here, how much credit has it left, and how much free tier?"""
        enforce, tier = self._terms()
        asked = self.asked(account, prefix, self._load, enforce, tier, now)
        return asked.credit >= LEAST, asked.credit, min(asked.free_left, UNLIMITED)


def _other_end(decision: Decision) -> Decision:
    # That the quota is promised is no matter of either end.
    return decision if decision.code is Reason.QUOTA_PROMISED else decision._replace(code=Reason.OTHER_END)
