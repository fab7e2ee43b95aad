"""The gossip's messages: what is taken holds every bound, was signed by whom it names, and has one encoding.

The first byte of an input says whether the rest is a whole message, or the body of a digest to be signed: so changes
reach what is behind the signature's check.
"""

from __future__ import annotations

from towpath.credits.receipts import Receipt, fraud_proof, read_receipt
from towpath.credits.receipts import sign as sign_receipt
from towpath.identity import Identity
from towpath.reputation import digest as digests
from towpath.reputation.digest import AGE_S, DAY_S, LIFE_S, MAX_DIGEST, MAX_PAID, SKEW_S, Digest, DigestError
from towpath.reputation.messages import Fraud, of_digest, of_fraud, open_message
from towpath.signed import OVERHEAD, signed

__all__ = ["NOW", "SEED", "check", "seeds"]

NOW = 20_000 * DAY_S + AGE_S + 7.0
SEED = bytes((9,)) * 32
_PAYER = Identity(SEED).peer_id[6:]
_RELAYS = tuple(sorted(Identity(bytes((n,)) * 32).peer_id for n in range(10, 14)))


def seeds() -> list[bytes]:
    """A digest, signed and not, and a fraud proof."""
    digest = Digest(
        v=1, payer=_PAYER, at=_RELAYS[0], day=19_999, paid=tuple((relay, 20 + n) for n, relay in enumerate(_RELAYS))
    )
    raw = digests.sign(digest, SEED)
    two = (
        sign_receipt(Receipt(v=1, relay=_RELAYS[0], payer=_PAYER, day=19_999, seq=5, cum_bytes=n, ok=1, fail=0), SEED)
        for n in (1 << 20, 1 << 21)
    )
    return [b"\x00" + of_digest(raw), b"\x01" + raw[OVERHEAD:], b"\x00" + of_fraud(fraud_proof(*two))]


def check(data: bytes) -> None:
    """AssertionError when a message was taken that must not be; any exception but DigestError is a fault, too."""
    if not data:
        return
    raw = signed("digest", data[1:], SEED) if data[0] & 1 else data[2:]
    message = of_digest(raw) if data[0] & 1 else data[1:]
    try:
        taken = open_message(message, NOW)
    except DigestError:
        return
    if isinstance(taken, Fraud):
        end = 2 + int.from_bytes(taken.proof[:2], "big")
        a, b = read_receipt(taken.proof[2:end]), read_receipt(taken.proof[end:])
        _must(a.payer == b.payer == taken.account, "it proves something of somebody else")
        _must(a.cum_bytes != b.cum_bytes and (a.relay, a.day, a.seq) == (b.relay, b.day, b.seq), "it proves nothing")
        _must(of_fraud(taken.proof) == message, "it has a second form")
        return
    _must(len(raw) <= MAX_DIGEST and 1 <= len(taken.paid) <= MAX_PAID, "it is too large")
    _must(taken.payer == raw[:32], "it names somebody else than its signer")
    ended = (taken.day + 1) * DAY_S
    _must(ended + AGE_S <= NOW + SKEW_S and ended + LIFE_S + SKEW_S >= NOW, "it is not for now")
    _must(all(digests.LEAST <= power <= 62 for _, power in taken.paid), "it names an amount out of bounds")
    if data[0] & 1:
        _must(digests.sign(taken, SEED) == raw, "it has a second encoding")


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
