"""Reputation of one node: joins what was measured of relays with what receipts and the gossip say, and tells it.

What decides is pure and elsewhere (`score`, `own`, `sustaining`, `digest`, `gate`); this carries it out on the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from towpath.addresses import peer_id_to_bytes, peer_id_to_text
from towpath.credits.receipts import Receipt, ReceiptError, Signed, day_of, read_fraud_proof
from towpath.discovery.candidates import usable_addresses
from towpath.discovery.records import advertisement_key, read_advertisement
from towpath.discovery.selection import usable
from towpath.errors import TowpathError
from towpath.log import get_logger
from towpath.reputation.claims import Claims
from towpath.reputation.digest import DigestError, compose, due, sign
from towpath.reputation.evidence import ask
from towpath.reputation.messages import Fraud, of_digest, of_fraud, open_message
from towpath.reputation.own import DAYS, OwnReputation, own_reputation
from towpath.reputation.score import PeerStats, RelayReputation, ranking
from towpath.reputation.sources import Sources
from towpath.reputation.sustaining import Indicator, Room, self_sustaining

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint
    from towpath.credits.virtual import Probed
    from towpath.discovery.candidates import Candidate
    from towpath.discovery.composition import Discovery
    from towpath.identity import Identity
    from towpath.settings import Settings
    from towpath.store import Store

__all__ = ["NO_RECEIPTS", "Receipts", "Reputation"]

_TELL_S: Final = 1800.0
"""How often it is looked at whether there is a digest to be told, or a fifth sooner."""
_MEASURE_S: Final = 3300.0
"""How often a node that relays looks whether other relays are there; a little less than an hour, see `noted`."""
_MEASURED: Final = 16
_ASK_S: Final = 120.0
"""How often the node behind a digest is asked for the receipts."""
_MOST_FIND_S: Final = 20.0
_OWN_S: Final = 30.0
_MANY: Final = 200
_SAYINGS: Final = 60
_SAY_AGAIN_S: Final = 60.0
"""How often, and after how long again, it is tried to tell a proof while nobody is there to hear it."""
_TOLD: Final = "reputation.told"
_MB: Final = 1_000_000
_log = get_logger("reputation")


class Receipts(Protocol):
    """What the ledger knows; answers at once. Bytes, peer ids, days since 1970."""

    def paid_to_us(self, since_day: int) -> Iterable[Receipt]:
        """The newest receipt of each payer and day for our relay, from a day on."""

    def ours(self, day: int) -> Iterable[Signed]:
        """The newest countersigned receipts of our own account of a day."""

    def relayed_for_me(self, relay: bytes) -> int:
        """What our account signed for a relay, over all days that are kept."""


class _NoReceipts:
    def paid_to_us(self, since_day: int) -> Iterable[Receipt]:
        """None."""
        return ()

    def ours(self, day: int) -> Iterable[Signed]:
        """None."""
        return ()

    def relayed_for_me(self, relay: bytes) -> int:
        """Nothing."""
        return 0


NO_RECEIPTS: Final[Receipts] = _NoReceipts()


class Reputation:
    """Of the relay that is, or would be, at `relay`."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        store: Store,
        discovery: Discovery,
        relay: Endpoint,
        throw_away: Callable[[], Endpoint],
    ) -> None:
        self.receipts: Receipts = NO_RECEIPTS
        self.account: Identity | None = None
        """Who signs digests; None: there are none to be told."""
        self.on_fraud: Callable[[bytes], None] = lambda account: None
        """Called with each account of which it is proven that it signed two receipts that contradict each other."""
        self.on_evidence: Callable[[bytes, list[bytes]], None] = lambda payer, duals: None
        """Called with the receipts that bear a digest out, as they were countersigned, and who paid."""
        self._settings = settings
        self._store = store
        self._discovery = discovery
        self._endpoint = relay
        self._throw_away = throw_away
        self._relay = relay.peer_id
        self._claims = Claims(store, time.time())
        self._claims.matter = self._named
        self._sources = Sources(store)
        self._own = (float("-inf"), OwnReputation(None, None, 0, []))
        self._tasks: set[asyncio.Task[None]] = set()
        discovery.guide.counted = self._sources.count
        discovery.finder.fraudulent = lambda account: self._claims.fraudulent(account, time.time())
        discovery.presence.heard = self._heard
        discovery.own_score = lambda: self.own().score
        for answers in (discovery.presence.answers, discovery.presence.neighbours):
            answers.shown = self._shown

    # --- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins."""
        self._spawn(_again_and_again(_TELL_S, self._tell_digest))
        self._spawn(_again_and_again(_MEASURE_S, self._measure))
        self._spawn(_again_and_again(_ASK_S, self._ask))

    async def stop(self) -> None:
        """Ends what is under way."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._claims.write(time.time())

    def _named(self) -> set[bytes]:
        # The accounts of relays that we know.
        known = (one.advertisement for one in self._discovery.finder.candidates())
        return {said.account for said in known if said is not None and said.account is not None}

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="reputation")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- what the gossip brings, and is told ---------------------------------------------------

    def _heard(self, data: bytes, neighbour: bytes) -> None:
        # The process checked it, too; but that reads what peers send.
        try:
            message = open_message(data, time.time())
        except DigestError as error:
            _log.warning("gossip_not_taken", error=str(error))
            return
        if isinstance(message, Fraud):
            self._convict(message.account, message.proof)
        else:
            self._claims.take(message)

    def fraud(self, proof: bytes) -> None:
        """Somebody here came by the proof that an account signed two receipts that contradict each other."""
        try:
            account = read_fraud_proof(proof)
        except ReceiptError as error:
            _log.warning("fraud_not_proven", error=str(error))
            return
        if self._convict(account, proof):
            self._spawn(self._say(of_fraud(proof)))

    def _convict(self, account: bytes, proof: bytes) -> bool:
        new = self._claims.convict(account, proof, time.time())
        if new:
            _log.info("fraud_proven", account=account.hex()[:12])
            self._discovery.guide.changed()
            self.on_fraud(account)
        return new

    async def _tell_digest(self) -> None:
        day, account = due(time.time()), self.account
        if account is None or not self._settings().credits.share_digest or self._store.get(_TOLD, -1) >= day:
            return
        paid = {one.receipt.relay: one.receipt.cum_bytes for one in self.receipts.ours(day) if one.dual is not None}
        digest = compose(account.public_key, self._relay, day, paid)
        if digest is None or await self._said(of_digest(sign(digest, account.seed))):
            self._store.put(_TOLD, day)

    async def _say(self, message: bytes) -> None:
        for _ in range(_SAYINGS):
            if await self._said(message):
                return
            await asyncio.sleep(_SAY_AGAIN_S * random.uniform(0.5, 1.5))

    async def _said(self, message: bytes) -> bool:
        # Whether somebody is there to hear it.
        try:
            return bool(await self._discovery.presence.slot.gossip(message))
        except TowpathError as error:
            _log.info("gossip_not_told", error=str(error))
            return False

    # --- what bears digests out ----------------------------------------------------------------

    def _shown(self, payer: bytes, day: int) -> list[bytes]:
        # Only what was, or may be, told anyway.
        account = self.account
        if account is None or payer != account.public_key or not self._settings().credits.share_digest:
            return []
        if day > due(time.time()):
            return []
        return [one.dual for one in self.receipts.ours(day) if one.dual is not None]

    async def _ask(self) -> None:
        self._claims.write(time.time())
        # Of what is said of relays that we know, the newest first; each digest once.
        known = {one.relay_id for one in self._discovery.finder.candidates()}
        digests = [one for one in self._claims.naming(known) if one.at != self._relay]
        if not digests:
            return
        digest = digests[0]
        self._claims.forget(digest)
        try:
            found = await ask(self._throw_away, digest, await self._where(digest.at))
        except (TowpathError, OSError) as error:
            _log.info("digest_not_borne_out", at=peer_id_to_text(digest.at), error=str(error))
            return
        duals = [one.dual for one in found if one.dual is not None]
        _log.info("digest_borne_out", at=peer_id_to_text(digest.at), said=len(digest.paid), shown=len(duals))
        if duals:
            self.on_evidence(digest.payer, duals)

    async def _where(self, relay: bytes) -> Sequence[str]:
        candidate = self._discovery.finder.candidate(relay)
        if candidate is not None and candidate.addresses:
            return candidate.addresses
        raw = await self._discovery.presence.slot.get(advertisement_key(relay))
        if raw is None:
            return ()
        return usable_addresses(relay, read_advertisement(raw, time.time()).addrs, self._discovery.is_public)

    # --- what is measured ----------------------------------------------------------------------

    async def _measure(self) -> None:
        # Relays that hold no reservation of ours are looked at by those only who relay themselves: a relay that uses
        # none owes others something for being there.
        if not self._settings().relay.mode.relays:
            return
        with contextlib.suppress(TowpathError, OSError):
            await self._discovery.find_relay_peers(_MEASURED, _MOST_FIND_S)
        await self._discovery.finder.measure(_MEASURED)

    def probed(self) -> list[Probed]:
        """The relays that we look at, for as many days as they were found up."""
        # The ledger's side is loaded by who counts.
        from towpath.credits.virtual import Probed

        found = []
        for one in self._discovery.finder.candidates():
            account = None if one.advertisement is None else one.advertisement.account
            network = min(one.networks, default="")
            if one.own.observed_at and network:
                found.append(Probed(one.relay_id, account, one.own.up_s / 86400, network))
        return found

    # --- what it says --------------------------------------------------------------------------

    def own(self) -> OwnReputation:
        """What others say of our relay; of many receipts as it was half a minute ago."""
        kept_at, own = self._own
        if time.monotonic() - kept_at < _OWN_S:
            return own
        today = day_of(time.time())
        receipts = list(self.receipts.paid_to_us(today - DAYS))
        own = own_reputation(self._relay, receipts, self._claims.naming({self._relay}), today)
        if len(receipts) >= _MANY:
            self._own = (time.monotonic(), own)
        return own

    def sustaining(self) -> Indicator:
        """Could bootstrap relays be switched off, by what this node sees?"""
        return self_sustaining(self._sources.made(), [_room(one) for one in self._volunteers()])

    def independence(self) -> dict[str, Any]:
        """The same, as the API tells it."""
        return self.sustaining().told()

    def _volunteers(self) -> list[Candidate]:
        now = time.time()
        return [one for one in self._discovery.finder.candidates() if one.source != "bootstrap" and usable(one, now)]

    def status(self) -> dict[str, Any]:
        """The parts of the node's status that are of reputation."""
        own = self.own()
        return {
            "reputation": own.score,
            "stars": own.stars,
            "reputation_from": own.peers,
            "reputation_parts": own.parts,
            "self_sustaining": self.independence(),
        }

    def facts(self) -> dict[str, Any]:
        """What `towpath reputation` shows."""
        own = self.own()
        relays = [self._of(one) for one in self._discovery.finder.candidates() if one.own.observed_at]
        return {
            "reputation": own.score,
            "stars": own.stars,
            "reputation_from": own.peers,
            "reputation_parts": own.parts,
            "sharing": self._settings().credits.share_digest,
            "digests_known": len(self._claims),
            "frauds_known": len(self._claims.convicted(time.time())),
            "relays": sorted(relays, key=lambda row: (-row["score"], row["peer"])),
        }

    def of_peer(self, peer: str) -> dict[str, Any]:
        """What `towpath reputation PEER` shows of a peer; AddressError when `peer` is no peer id."""
        peer_id = peer_id_to_bytes(peer)
        candidate = self._discovery.finder.candidate(peer_id)
        if candidate is not None:
            return self._of(candidate)
        stats = self._stats(peer_id, None)
        return {"peer": peer, "known": False, **_told(RelayReputation()), **stats, "walk": None, "ranking": None}

    def _of(self, candidate: Candidate) -> dict[str, Any]:
        own = candidate.own
        for_me = self.receipts.relayed_for_me(candidate.relay_id)
        reputation = RelayReputation(
            successful_circuits=own.successful,
            failed_circuits=own.failed,
            uptime_percentage=100 * own.uptime,
            avg_latency_ms=own.latency_ms,
            bandwidth_contributed_mb=for_me / _MB,
        )
        standing = 0.0 if candidate.fraud else ranking(reputation.score, candidate.walk)
        return {
            "peer": candidate.text,
            "known": True,
            **_told(reputation),
            **self._stats(candidate.relay_id, reputation.score),
            "walk": None if candidate.walk is None else round(candidate.walk, 1),
            "ranking": round(standing, 1),
        }

    def _stats(self, peer_id: bytes, worth: int | None) -> dict[str, Any]:
        relay = self._endpoint.relay
        stats = PeerStats(
            bytes_relayed_for_me=self.receipts.relayed_for_me(peer_id),
            bytes_relayed_by_me=0 if relay is None else relay.peer_totals().get(peer_id, [0, 0])[0],
            reputation=worth,
        )
        return {
            "bytes_relayed_for_me": stats.bytes_relayed_for_me,
            "bytes_relayed_by_me": stats.bytes_relayed_by_me,
            "reputation": stats.reputation,
        }


def _told(reputation: RelayReputation) -> dict[str, Any]:
    latency = reputation.avg_latency_ms
    return {
        "score": reputation.score,
        "stars": reputation.stars,
        "successful_circuits": round(reputation.successful_circuits, 1),
        "failed_circuits": round(reputation.failed_circuits, 1),
        "uptime_percentage": round(reputation.uptime_percentage, 1),
        "avg_latency_ms": None if latency is None else round(latency, 1),
        "bandwidth_contributed_mb": round(reputation.bandwidth_contributed_mb, 1),
    }


def _room(candidate: Candidate) -> Room:
    # A relay that tells no limit, or no advertisement, counts as an average volunteer.
    said = candidate.advertisement
    circuits = None if said is None else said.capacity.circuits
    return Room(256.0 if circuits is None else float(circuits), 0.0 if said is None else said.load / 8)


async def _again_and_again(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds * random.uniform(0.8, 1.0))
        try:
            await work()
        except (TowpathError, OSError) as error:
            _log.info("reputation_work_failed", error=str(error))
