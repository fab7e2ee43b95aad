"""Writes tests/vectors/reputation.json anew: `python -m tests.vectors.make_reputation`. test_vectors.py compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.vectors.make_receipts import RAW

from towpath.credits.receipts import Receipt, fraud_proof
from towpath.credits.receipts import sign as sign_receipt
from towpath.identity import Identity
from towpath.reputation.digest import AGE_S, DAY_S, Digest, sign
from towpath.reputation.messages import of_digest, of_fraud
from towpath.signed import signed

PLACE = Path(__file__).with_name("reputation.json")
DAY = 19_000
NOW = (DAY + 1) * DAY_S + AGE_S + 60
ACCOUNT = Identity(bytes((9,)) * 32)
RELAYS = sorted(Identity(bytes((n,)) * 32).peer_id for n in (7, 8))
DIGEST = Digest(v=1, payer=ACCOUNT.public_key, at=RELAYS[0], day=DAY, paid=((RELAYS[0], 20), (RELAYS[1], 33)))


def _frauds() -> bytes:
    first = Receipt(v=1, relay=RELAYS[0], payer=ACCOUNT.public_key, day=DAY, seq=5, cum_bytes=1 << 20, ok=1, fail=0)
    second = Receipt(v=1, relay=RELAYS[0], payer=ACCOUNT.public_key, day=DAY, seq=5, cum_bytes=1 << 21, ok=2, fail=0)
    return fraud_proof(sign_receipt(first, ACCOUNT.seed), sign_receipt(second, ACCOUNT.seed))


def made() -> dict[str, Any]:
    """The vectors."""
    digest = sign(DIGEST, ACCOUNT.seed)
    body = digest[96:]
    out_of_order = body.replace(RELAYS[0], b"?" * 38).replace(RELAYS[1], RELAYS[0])
    return {
        "seed": ACCOUNT.seed.hex(),
        "now": NOW,
        "digest": {
            "payer": DIGEST.payer.hex(),
            "at": DIGEST.at.hex(),
            "day": DIGEST.day,
            "paid": [[relay.hex(), power] for relay, power in DIGEST.paid],
            "bytes": digest.hex(),
        },
        "messages": [
            {"kind": "digest", "bytes": of_digest(digest).hex()},
            {"kind": "fraud", "account": ACCOUNT.public_key.hex(), "bytes": of_fraud(_frauds()).hex()},
        ],
        "refused": [
            {"why": "signed as something else", "bytes": of_digest(signed("receipt", body, ACCOUNT.seed)).hex()},
            {"why": "signed by somebody else", "bytes": of_digest(signed("digest", body, bytes(32))).hex()},
            {"why": "no relay's id", "bytes": of_digest(signed("digest", out_of_order, ACCOUNT.seed)).hex()},
            {"why": "no proof", "bytes": of_fraud(_frauds()[:-1]).hex()},
            {"why": "a receipt is no message", "bytes": (b"\x02" + RAW).hex()},
            {"why": "of a later version", "bytes": (b"\x03" + digest).hex()},
        ],
    }


if __name__ == "__main__":
    PLACE.write_text(json.dumps(made(), indent=1) + "\n")
