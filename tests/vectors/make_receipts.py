"""Writes tests/vectors/receipts.json anew: `python -m tests.vectors.make_receipts`. test_vectors.py compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from towpath import cbor
from towpath.credits.account import prove
from towpath.credits.receipts import Receipt, countersign, fraud_proof, sign
from towpath.identity import Identity
from towpath.signed import OVERHEAD, signed

PLACE = Path(__file__).with_name("receipts.json")
PAYER = Identity(bytes((9,)) * 32)
RELAY = Identity(bytes((10,)) * 32)
OWNER = Identity(bytes((11,)) * 32)
"""Of the relay."""
CLIENT = Identity(bytes((12,)) * 32)
"""The peer identity that shows the payer's account."""
NONCE = bytes(range(32))
PROOF = prove(PAYER.seed, RELAY.peer_id, CLIENT.peer_id, NONCE)

_DAY = 20_833
_FIRST = Receipt(1, RELAY.peer_id, PAYER.public_key, _DAY, 1, 1_048_576, 0, 0)
_LATER = Receipt(1, RELAY.peer_id, PAYER.public_key, _DAY, 43_200_123, 5_000_000_000, 41, 1)
_OTHER = Receipt(1, RELAY.peer_id, PAYER.public_key, _DAY, 43_200_123, 4_000_000_000, 41, 1)
RECEIPTS: list[tuple[str, Receipt]] = [("the first of a day", _FIRST), ("a later one", _LATER)]
RAW = sign(_LATER, PAYER.seed)
DUAL = countersign(RAW, RELAY.seed, OWNER.public_key)


def _changed(**changes: Any) -> bytes:
    fields = msgspec.to_builtins(_LATER, builtin_types=(bytes,)) | changes
    return signed(
        "receipt", cbor.encode({key: value for key, value in fields.items() if value != "left out"}), PAYER.seed
    )


def _twisted(raw: bytes, at: int) -> bytes:
    changed = bytearray(raw)
    changed[at] ^= 1
    return bytes(changed)


def _refused() -> list[tuple[str, str, bytes]]:
    body = RAW[OVERHEAD:]
    first, other = sign(_FIRST, PAYER.seed), sign(_OTHER, PAYER.seed)
    proof = fraud_proof(RAW, other)
    size = len(min(RAW, other)).to_bytes(2, "big")
    return [
        ("a changed body", "receipt", _twisted(RAW, OVERHEAD + 30)),
        ("a changed signature", "receipt", _twisted(RAW, 40)),
        ("signed by somebody else", "receipt", signed("receipt", body, OWNER.seed)),
        ("signed as another kind", "receipt", signed("countersigned", body, PAYER.seed)),
        ("a later version", "receipt", _changed(v=2)),
        ("a relay that is no Ed25519 key", "receipt", _changed(relay=bytes(38))),
        ("a key is missing", "receipt", _changed(ok="left out")),
        ("an unknown key", "receipt", _changed(price=1)),
        ("a negative total", "receipt", _changed(cum_bytes=-1)),
        ("a day that never comes", "receipt", _changed(day=2**24 + 1)),
        ("bytes behind it", "receipt", signed("receipt", body + b"\x00", PAYER.seed)),
        ("a tag", "receipt", signed("receipt", b"\xc0" + body, PAYER.seed)),
        ("empty", "receipt", b""),
        ("not countersigned", "countersigned", RAW),
        ("countersigned by another relay", "countersigned", countersign(RAW, OWNER.seed, OWNER.public_key)),
        ("countersigned twice", "countersigned", countersign(DUAL[:400], RELAY.seed)),
        ("a countersignature around no receipt", "countersigned", countersign(_twisted(RAW, 40), RELAY.seed)),
        ("twice the same", "fraud proof", len(RAW).to_bytes(2, "big") + RAW + RAW),
        ("two that do not conflict", "fraud proof", len(first).to_bytes(2, "big") + min(first, RAW) + max(first, RAW)),
        ("in the wrong order", "fraud proof", size + max(RAW, other) + min(RAW, other)),
        ("half of it", "fraud proof", proof[: len(proof) // 2]),
        ("of another connection", "proof", prove(PAYER.seed, RELAY.peer_id, OWNER.peer_id, NONCE)),
        ("of another relay", "proof", prove(PAYER.seed, OWNER.peer_id, CLIENT.peer_id, NONCE)),
        ("an old nonce", "proof", prove(PAYER.seed, RELAY.peer_id, CLIENT.peer_id, bytes(32))),
        ("a changed proof", "proof", _twisted(PROOF, 110)),
    ]


def vectors() -> dict[str, Any]:
    """All of them, as in the file; byte strings in hexadecimal."""
    return {
        "payer_seed": PAYER.seed.hex(),
        "relay_seed": RELAY.seed.hex(),
        "payer": PAYER.public_key.hex(),
        "relay": RELAY.peer_id.hex(),
        "relay_account": OWNER.public_key.hex(),
        "client": CLIENT.peer_id.hex(),
        "nonce": NONCE.hex(),
        "proof": PROOF.hex(),
        "receipts": [
            {
                "name": name,
                "says": plain(receipt),
                "bytes": sign(receipt, PAYER.seed).hex(),
                "countersigned": countersign(sign(receipt, PAYER.seed), RELAY.seed, OWNER.public_key).hex(),
            }
            for name, receipt in RECEIPTS
        ],
        "fraud_proof": fraud_proof(RAW, sign(_OTHER, PAYER.seed)).hex(),
        "refused": [{"name": name, "as": kind, "bytes": raw.hex()} for name, kind, raw in _refused()],
    }


def plain(receipt: Receipt) -> dict[str, Any]:
    """What a receipt says, with byte strings in hexadecimal."""
    fields = msgspec.to_builtins(receipt, builtin_types=(bytes,))
    return {key: value.hex() if isinstance(value, bytes) else value for key, value in fields.items()}


def text() -> str:
    """The whole file."""
    return json.dumps(vectors(), indent=2) + "\n"


if __name__ == "__main__":
    PLACE.write_text(text())
