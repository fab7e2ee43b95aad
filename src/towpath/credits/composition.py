"""Credits of one node: builds ledger, credit, gate, billing and paying, and joins them with the relay and the client.

Made by the node before its relay and its client; `join` before they start. On the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from towpath.credits.account import load_account
from towpath.credits.billing import Billing
from towpath.credits.credit_service import Credit
from towpath.credits.decay import CREDIT
from towpath.credits.free_tier import UNLIMITED, Tier
from towpath.credits.gate import Gate
from towpath.credits.ledger import Ledger
from towpath.credits.outcomes import Outcomes
from towpath.credits.paying import Paying
from towpath.credits.policy import LEAST, Enforce
from towpath.credits.priority import priority
from towpath.credits.told import Told

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint
    from towpath.client.service import ClientService
    from towpath.credits.virtual import Probed
    from towpath.discovery.composition import Discovery
    from towpath.identity import Identity
    from towpath.relay.service import RelayService
    from towpath.relaystream.messages import Refused, Standing
    from towpath.reputation.composition import Reputation
    from towpath.settings import CreditsSettings, Settings
    from towpath.store import Store

__all__ = ["Credits"]

_TELL_S: Final = 60.0
"""How often clients are told anew how their accounts stand, if anything changed."""
_AT_A_TIME: Final = 32
"""Clients, in one turn of the loop."""
_WEIGH_S: Final = 1.0
"""How long a client waits at most for its credit to be computed, when the relay is crowded."""


class Credits:
    """`relay` is the endpoint of the relay whose key is `key`; `data` the directory of the account's key, or None."""

    def __init__(
        self, relay: Endpoint, key: Identity, settings: Callable[[], Settings], store: Store, data: Path | None
    ) -> None:
        self._probed: Callable[[], Iterable[Probed]] = tuple
        self._on_fraud: Callable[[bytes], None] = lambda proof: None
        # An account signs in one process only: a node beside another one's directory, whose store it may not use, has
        # an account of its own.
        self.account = load_account(data if store.kept else None)
        self.told = Told()
        self.outcomes = Outcomes()
        self._endpoint = relay
        self._settings = settings
        self._terms_of: CreditsSettings | None = None
        self._terms_now: tuple[Enforce, Tier] = ("under_load", Tier())
        self._service: RelayService | None = None
        self._client: ClientService | None = None
        self._said: dict[bytes, tuple[bool, int, int | None]] = {}
        self._telling: asyncio.TimerHandle | None = None
        self._to_tell: list[bytes] = []
        self._weighed: dict[bytes, list[Callable[[], None]]] = {}
        public = self.account.public_key
        self.ledger = Ledger(store, key.peer_id, self._tier)
        self.ledger.on_fraud = self._fraud
        self.credit = Credit(store, public, duals=self.ledger.owed_duals, given=self._given, fraud=self._fraud)
        self.credit.changed = self._credit_changed
        self.ledger.source = self.credit
        self.gate = Gate(self.ledger, relay, self._terms)
        self.billing = Billing(relay, key, public, self.ledger, bring=self._brought)
        self.billing.may_ride = self._may_ride
        self.billing.shown = self._shown
        self.billing.weigh = self._weigh
        self.gate.account_of = self.billing.account_of
        self.paying = Paying(
            self.account,
            self.ledger,
            show=lambda: settings().relay.priority_access,
            evidence=lambda _relay: self.ledger.evidence(time.time()),
            outcomes=self.outcomes.of,
        )
        self.paying.on_refused = self._refused

    # --- life ----------------------------------------------------------------------------------

    def join(self, service: RelayService, client: ClientService, discovery: Discovery, reputation: Reputation) -> None:
        """Has the relay ask and the client pay; names the account in the advertisement, and signs digests with it."""
        self._service, self._client = service, client
        service.billing, service.gate = self.billing, self.gate
        self.gate.look_at_load, self.gate.look_at_quota = service.load, service.quota_left
        self.gate.told = service.refused
        client.pay_with(self.paying)
        discovery.account = self.account.public_key
        discovery.finder.walks = self.credit.walk_scores
        discovery.finder.tried = lambda relay, served: self.outcomes.note(relay, served, time.time())
        reputation.receipts, reputation.account = self.ledger, self.account
        reputation.on_fraud, reputation.on_evidence = self.credit.distrust, self._brought
        self._probed, self._on_fraud = reputation.probed, reputation.fraud

    async def start(self) -> None:
        """Reads the ledger; before relay and client start."""
        await self.ledger.load(time.time())
        self._telling = asyncio.get_running_loop().call_later(_TELL_S, self._tell)

    async def stop(self) -> None:
        """Ends what is under way and writes what is left, behind the relay's and the client's end."""
        if self._telling is not None:
            self._telling.cancel()
        self.gate.follow(None)
        self.billing.close()
        self.paying.close()
        await self.credit.stop()
        await self.ledger.close()

    # --- the owner's terms ---------------------------------------------------------------------

    def _tier(self) -> Tier:
        return self._terms()[1]

    def _terms(self) -> tuple[Enforce, Tier]:
        # Asked at every admission, so made once for each settings.
        credits = self._settings().credits
        if credits is not self._terms_of:
            self._terms_of = credits
            self._terms_now = (credits.enforce, Tier(credits.free_tier, credits.free_tier_refill))
        return self._terms_now

    def _given(self) -> dict[bytes, int]:
        # Loaded when credit is first computed.
        from towpath.credits.virtual import given_edges

        credits = self._settings().credits
        return given_edges(self._probed(), credits.free_tier, credits.trust)

    # --- what peers show -----------------------------------------------------------------------

    def _brought(self, account: bytes, duals: list[bytes], network: bytes = b"") -> None:
        self.credit.bring(account, duals, network)

    def _may_ride(self, peer_id: bytes, account: bytes) -> bool:
        # Without a signature it is a stranger, who has what its network has.
        _, prefix = self.gate.known_as(peer_id)
        judged = self.gate.judge(None, prefix, time.time())
        return not judged.asked.enforced or judged.asked.free_left >= LEAST

    def _fraud(self, proof: bytes) -> None:
        self._on_fraud(proof)

    # --- how accounts stand: what clients are told -----------------------------------------------

    def _shown(self, peer_id: bytes, account: bytes) -> None:
        self._said.pop(peer_id, None)
        self._tell_one(peer_id, account)

    def _weigh(self, account: bytes, go_on: Callable[[], None]) -> None:
        # A crowded relay would take it for a stranger until its credit is computed, or its evidence is checked.
        if not self.gate.enforced or self.credit.credit_of(account) >= LEAST:
            go_on()
            return
        waiting = self._weighed.setdefault(account, [])
        waiting.append(go_on)
        if len(waiting) == 1:
            asyncio.get_running_loop().call_later(_WEIGH_S, self._is_weighed, account)

    def _is_weighed(self, account: bytes) -> None:
        for go_on in self._weighed.pop(account, ()):
            go_on()

    def _credit_changed(self, account: bytes) -> None:
        if account in self._weighed and self.credit.credit_of(account) >= LEAST:
            self._is_weighed(account)
        for peer_id in self.billing.peers_of(account):
            if peer_id not in self._said or self._stands(peer_id, account)[0] != self._said[peer_id][0]:
                self._tell_one(peer_id, account)

    def _tell(self) -> None:
        # A few in each turn of the loop, over as many turns as it takes.
        if not self._to_tell:
            self._to_tell = list(self.billing.shown_accounts())
            for peer_id in self._said.keys() - set(self._to_tell):
                del self._said[peer_id]
        for peer_id in self._to_tell[-_AT_A_TIME:]:
            account = self.billing.shown_by(peer_id)
            if account is not None:
                self._tell_one(peer_id, account)
        del self._to_tell[-_AT_A_TIME:]
        wait = 0.0 if self._to_tell else _TELL_S
        self._telling = asyncio.get_running_loop().call_later(wait, self._tell)

    def _stands(self, peer_id: bytes, account: bytes) -> tuple[bool, int, int | None]:
        _, prefix = self.gate.known_as(peer_id)
        first, credit, free = self.gate.priority(account, prefix, time.time())
        # In whole credits, so that nobody is told of every packet.
        return first, credit // CREDIT * CREDIT, None if free >= UNLIMITED // 2 else free // CREDIT * CREDIT

    def _tell_one(self, peer_id: bytes, account: bytes) -> None:
        side = None if self._service is None else self._service.side
        now = self._stands(peer_id, account)
        if side is not None and self._said.get(peer_id) != now:
            self._said[peer_id] = now
            side.standing(peer_id, *now)

    # --- what relays tell us -------------------------------------------------------------------

    def _refused(self, relay: bytes, refused: Refused) -> None:
        self.told.refused(relay, refused, time.time())

    def standing_at(self, relay: bytes) -> Standing | None:
        """How our account stands at a relay that we use, as it says."""
        return None if self._client is None else self._client.account_at(relay)

    def priority(self) -> dict[str, Any]:
        """At how many of the relays that we use our account comes first; see priority.priority."""
        client = self._client
        relays = () if client is None else client.relays_in_use()
        return priority(self._settings().relay.priority_access, [self.standing_at(relay) for relay in relays])

    # --- what it says --------------------------------------------------------------------------

    def peers(self) -> list[bytes]:
        """Peers that are connected to the relay."""
        return list(self._endpoint.peers)

    def networks(self) -> dict[bytes, bytes]:
        """The accounts that are shown now, each with the network that it is shown from."""
        return {account: self.gate.known_as(peer_id)[1] for peer_id, account in self.billing.shown_accounts().items()}

    def status(self) -> dict[str, Any]:
        """The `credits` part of the node's status."""
        from towpath.credits import statement

        return statement.status(self)

    def rows(self) -> dict[str, Any]:
        """See statement.ledger."""
        # What puts it into words is loaded when somebody asks.
        from towpath.credits import statement

        return statement.ledger(self)

    def of_peer(self, name: str) -> dict[str, Any]:
        """See statement.of_peer; TowpathError for a name that means nothing here."""
        from towpath.credits import statement

        return statement.of_peer(self, name)

    @property
    def used(self) -> float:
        """Credits that this node ever spent."""
        return float(self.ledger.balance(time.time())["spent_ever"]) / CREDIT
