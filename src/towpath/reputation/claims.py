"""What the gossip brought: digests that nobody has borne out yet, and who signed two receipts that contradict each
other.

Bounded, and kept in the store, proofs for as long as what they prove is of weight. Used on the node's loop.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

from towpath.credits.receipts import ReceiptError, read_fraud_proof
from towpath.log import get_logger
from towpath.reputation.digest import Digest

if TYPE_CHECKING:
    from towpath.store import Store

__all__ = ["DIGESTS", "FRAUDS", "Claims"]

DIGESTS: Final = 512
"""Digests that are remembered; the oldest go first."""
FRAUDS: Final = 256
"""Accounts whose proof is kept."""
_WRITTEN_S: Final = 60.0
"""Proofs cost whoever lies nothing, and each writes them all: with many at once that is not done sooner again."""
_FORGIVEN_S: Final = 30 * 86400.0
"""A proof counts for so long; balances have halved by then."""
_KEY: Final = "reputation.frauds"
_log = get_logger("reputation")


class Claims:
    """See the module. `now` is Unix time."""

    def __init__(self, store: Store, now: float) -> None:
        self.matter: Callable[[], Collection[bytes]] = tuple
        """Accounts whose proofs are kept in the place of strangers': who wants to be forgotten can invent these."""
        self._store = store
        self._written_at = float("-inf")
        self._unwritten = False
        self._digests: OrderedDict[tuple[bytes, int], Digest] = OrderedDict()
        self._frauds: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._read(store.get(_KEY), now)

    # --- digests -------------------------------------------------------------------------------

    def take(self, digest: Digest) -> None:
        """Remembers what was said; of one account and day the first."""
        key = (digest.payer, digest.day)
        if key not in self._digests:
            self._digests[key] = digest
            while len(self._digests) > DIGESTS:
                self._digests.popitem(last=False)

    def forget(self, digest: Digest) -> None:
        """It was borne out, or will not be."""
        self._digests.pop((digest.payer, digest.day), None)

    def naming(self, relays: Collection[bytes]) -> list[Digest]:
        """Digests that say something of one of these relays (peer ids), the newest day first."""
        found = [one for one in self._digests.values() if any(relay in relays for relay, _ in one.paid)]
        return sorted(found, key=lambda digest: -digest.day)

    def __len__(self) -> int:
        """How many digests are remembered."""
        return len(self._digests)

    # --- proofs --------------------------------------------------------------------------------

    def convict(self, account: bytes, proof: bytes, now: float) -> bool:
        """Keeps a proof, which was checked; False when this account was convicted before."""
        new = not self.fraudulent(account, now)
        if new:
            self._frauds[account] = (now, proof)
            self._frauds.move_to_end(account)
            if len(self._frauds) > FRAUDS:
                known = set(self.matter())
                del self._frauds[next((one for one in self._frauds if one not in known), next(iter(self._frauds)))]
            self._unwritten = True
            if abs(now - self._written_at) >= _WRITTEN_S:
                self.write(now)
        return new

    def write(self, now: float) -> None:
        """Writes the proofs, if some are not written yet."""
        if self._unwritten:
            self._unwritten = False
            self._written_at = now
            self._store.put(_KEY, [[one.hex(), at, proof.hex()] for one, (at, proof) in self._frauds.items()])

    def fraudulent(self, account: bytes, now: float) -> bool:
        """Did this account sign two receipts that contradict each other, not long ago?"""
        found = self._frauds.get(account)
        return found is not None and abs(now - found[0]) < _FORGIVEN_S

    def convicted(self, now: float) -> set[bytes]:
        """All such accounts."""
        return {account for account in self._frauds if self.fraudulent(account, now)}

    def _read(self, rows: Any, now: float) -> None:
        for row in rows[:FRAUDS] if isinstance(rows, list) else []:
            try:
                text, at, proof = row
                account = bytes.fromhex(text)
                # Whoever can write the file can drop proofs, and forge none.
                if read_fraud_proof(bytes.fromhex(proof)) == account and abs(now - at) < _FORGIVEN_S:
                    self._frauds[account] = (float(at), bytes.fromhex(proof))
            except (ValueError, TypeError, ReceiptError) as error:
                _log.warning("fraud_proof_unreadable", error=str(error))
