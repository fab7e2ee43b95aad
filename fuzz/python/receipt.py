"""Receipts, countersigned ones, fraud proofs, and proofs of accounts: what is taken was signed by whom it names, once.

The first byte of an input says of which kind the rest is, and whether signatures that fit are put around it: so changes
reach what is behind the signature's check.
"""

from __future__ import annotations

import json
from pathlib import Path

from towpath.credits import account, receipts
from towpath.credits.receipts import MAX_DUAL, MAX_FRAUD_PROOF, MAX_RECEIPT, ReceiptError
from towpath.signed import OVERHEAD, signed

__all__ = ["check", "seeds"]

_VECTORS = json.loads((Path(__file__).parents[2] / "tests" / "vectors" / "receipts.json").read_text())
_PAYER, _RELAY = (bytes.fromhex(_VECTORS[name]) for name in ("payer_seed", "relay_seed"))
_KINDS = ("receipt", "countersigned", "fraud proof", "proof")
_SIGNED = 4


def seeds() -> list[bytes]:
    """The test vectors, with their signatures and without."""
    out = [bytes((2,)) + bytes.fromhex(_VECTORS["fraud_proof"]), bytes((3,)) + bytes.fromhex(_VECTORS["proof"])]
    out.append(bytes((3 | _SIGNED,)) + bytes.fromhex(_VECTORS["proof"])[OVERHEAD:])
    for vector in _VECTORS["receipts"]:
        raw, dual = bytes.fromhex(vector["bytes"]), bytes.fromhex(vector["countersigned"])
        out += [b"\x00" + raw, bytes((_SIGNED,)) + raw[OVERHEAD:]]
        out += [b"\x01" + dual, bytes((1 | _SIGNED,)) + raw[OVERHEAD:], bytes((2 | _SIGNED,)) + raw[OVERHEAD:]]
    return out


def check(data: bytes) -> None:
    """AssertionError when something was taken that must not be; any other exception is a fault of the reader, too."""
    if not data:
        return
    kind, rest = _KINDS[data[0] & 3], data[1:]
    if data[0] & _SIGNED:
        rest = signed("account" if kind == "proof" else "receipt", rest, _PAYER)
        if kind == "countersigned":
            rest = signed("countersigned", bytes(32) + rest, _RELAY)
        elif kind == "fraud proof":
            # Beside one that is good.
            other = bytes.fromhex(_VECTORS["receipts"][1]["bytes"])
            first, second = sorted((rest, other))
            rest = len(first).to_bytes(2, "big") + first + second
    {"receipt": _receipt, "countersigned": _dual, "fraud proof": _fraud, "proof": _proof}[kind](rest)


def _receipt(raw: bytes) -> None:
    try:
        receipt = receipts.read_receipt(raw)
    except ReceiptError:
        return
    _must(len(raw) <= MAX_RECEIPT, "it is too large")
    _must(receipt.payer == raw[:32], "it names somebody else than its signer")
    _must(receipts.sign(receipt, _PAYER) == raw, "it has a second encoding")
    _must(not receipts.conflict(receipt, receipt), "it contradicts itself")


def _dual(raw: bytes) -> None:
    try:
        signed_twice = receipts.read_dual(raw)
    except ReceiptError:
        return
    _must(len(raw) <= MAX_DUAL, "it is too large")
    _must(signed_twice.receipt.relay[6:] == raw[:32], "somebody else countersigned it")
    _must(receipts.read_receipt(signed_twice.raw) == signed_twice.receipt, "it holds another receipt")
    again = receipts.countersign(signed_twice.raw, _RELAY, signed_twice.relay_account)
    _must(again == raw, "it has a second encoding")


def _fraud(raw: bytes) -> None:
    try:
        payer = receipts.read_fraud_proof(raw)
    except ReceiptError:
        return
    _must(len(raw) <= MAX_FRAUD_PROOF, "it is too large")
    end = 2 + int.from_bytes(raw[:2], "big")
    first, second = receipts.read_receipt(raw[2:end]), receipts.read_receipt(raw[end:])
    _must(first.payer == second.payer == payer, "it blames somebody else")
    _must(first.seq == second.seq and first.cum_bytes != second.cum_bytes, "the two do not conflict")
    _must(receipts.fraud_proof(raw[end:], raw[2:end]) == raw, "it has a second form")


def _proof(raw: bytes) -> None:
    relay, client, nonce, payer = (bytes.fromhex(_VECTORS[name]) for name in ("relay", "client", "nonce", "payer"))
    try:
        shown = account.read_proof(raw, relay, client, nonce)
    except account.AccountError:
        return
    _must(shown == raw[:32] == payer, "it shows somebody else's account")
    _must(raw == bytes.fromhex(_VECTORS["proof"]), "it has a second form")


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
