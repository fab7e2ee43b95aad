"""Receipts: what a payer signs for the bytes that a relay carried for it, and the proof that somebody signed two. Pure.

A receipt is signed bytes (`towpath.signed`) by the account around a map in canonical CBOR; a countersigned one is
signed bytes by the relay around its own account and the receipt; see docs/protocol.md. A reader checks size, signature,
the one encoding and every bound, in this order. Receipts of one payer and relay add up within a day: the newest counts.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from towpath import cbor
from towpath.errors import TowpathError
from towpath.signed import OVERHEAD, PEER_ID_PREFIX, SignatureError, key_of, opened, signed

__all__ = [
    "COUNTERSIGN_EVERY",
    "DAY_S",
    "MAX_DUAL",
    "MAX_EVIDENCE",
    "MAX_FRAUD_PROOF",
    "MAX_RECEIPT",
    "MAX_STEP",
    "MIN_STEP",
    "SKIPPED",
    "UNSIGNED_STEPS",
    "Receipt",
    "ReceiptError",
    "Signed",
    "conflict",
    "countersign",
    "day_of",
    "fraud_proof",
    "newer",
    "read",
    "read_dual",
    "read_fraud_proof",
    "read_receipt",
    "sign",
    "step",
    "unsigned_allowed",
]

MAX_RECEIPT: Final = 320
"""Bytes of a receipt, the payer's key and signature included."""
MAX_DUAL: Final = MAX_RECEIPT + OVERHEAD + 32
"""Bytes of a countersigned receipt."""
MAX_FRAUD_PROOF: Final = 2 + 2 * MAX_RECEIPT
MAX_EVIDENCE: Final = 64
"""Countersigned receipts that one account may bring."""
MIN_STEP: Final = 1 << 20
MAX_STEP: Final = 64 << 20
UNSIGNED_STEPS: Final = 4
"""Steps that may be carried without a signature; behind them a sender counts as a free rider."""
COUNTERSIGN_EVERY: Final = 8
"""Receipts; and the last one of a day or a connection."""
SKIPPED: Final = 1000
"""Numbers that a payer leaves out after it may have forgotten which ones it gave."""
DAY_S: Final = 86400

_KIND: Final = "receipt"
_DUAL: Final = "countersigned"
_KEY: Final = 32

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Small = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class ReceiptError(TowpathError):
    """Bytes that are no receipt, no countersigned one, or prove no fraud."""


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `payer` says that `relay` carried for it on one day."""

    v: Literal[1]
    relay: Annotated[bytes, msgspec.Meta(min_length=38, max_length=38)]
    """The relay's peer id, an Ed25519 one."""
    payer: Annotated[bytes, msgspec.Meta(min_length=_KEY, max_length=_KEY)]
    """The account, whose key signs."""
    day: Annotated[int, msgspec.Meta(ge=0, le=2**24)]
    """Days since 1970, UTC."""
    seq: _Count
    """Never given twice by one payer to one relay; of two by one payer for one relay and day the higher counts."""
    cum_bytes: _Count
    """Bytes of this day, all together, that the payer sent through the relay."""
    ok: _Small
    """Circuits and reservations of this day that the relay gave the payer,"""
    fail: _Small
    """and that failed through the relay's fault."""


class Signed(NamedTuple):
    """A receipt and its signatures. `raw` is as the payer signed it, `dual` as the relay countersigned it."""

    receipt: Receipt
    raw: bytes
    dual: bytes | None = None
    relay_account: bytes | None = None
    """The account of the relay, by its own countersignature; None: not countersigned, or it has none."""

    @property
    def payer_signature(self) -> bytes:
        """The payer's 64 bytes."""
        return self.raw[_KEY:OVERHEAD]

    @property
    def relay_signature(self) -> bytes | None:
        """The relay's 64 bytes, if it countersigned."""
        return None if self.dual is None else self.dual[_KEY:OVERHEAD]


def day_of(now: float) -> int:
    """The day of a Unix time."""
    return max(0, int(now // DAY_S))


def step(already_paid: int) -> int:
    """Bytes from one receipt to the next, for an account that has paid this relay for so many."""
    return min(max(MIN_STEP, already_paid // 64), MAX_STEP)


def unsigned_allowed(already_paid: int, debt: int = 0) -> int:
    """Bytes that a relay carries for such an account without a signature, on top of what it still owes for connections
    that are over: those make it smaller, down to one step.
    """
    one = step(already_paid)
    return max(one, UNSIGNED_STEPS * one - debt)


def newer(a: Receipt, b: Receipt) -> bool:
    """Does `a` take the place of `b`, a receipt by the same payer for the same relay? Nothing replaces itself."""
    return (a.day, a.seq) > (b.day, b.seq)


def sign(receipt: Receipt, seed: bytes) -> bytes:
    """The receipt as it goes out, signed with the account's key; ReceiptError unless a reader would take it."""
    body = _encode(receipt)
    _checked(body, signer=receipt.payer)
    raw = signed(_KIND, body, seed)
    if raw[:_KEY] != receipt.payer:
        raise ReceiptError("a receipt is signed by its payer")
    return raw


def read_receipt(raw: bytes) -> Receipt:
    """The receipt that `raw` is; ReceiptError otherwise."""
    try:
        signer, body = opened(_KIND, raw, MAX_RECEIPT)
    except SignatureError as error:
        raise ReceiptError(f"not a receipt: {error}") from error
    return _checked(body, signer=signer[len(PEER_ID_PREFIX) :])


def read(raw: bytes) -> Signed:
    """`read_receipt`, with the bytes."""
    return Signed(read_receipt(raw), raw)


def countersign(raw: bytes, relay_seed: bytes, account: bytes | None = None) -> bytes:
    """A receipt countersigned by the relay that it names, which so says which account is its own."""
    if account is not None and len(account) != _KEY:
        raise ReceiptError("an account is a key of 32 bytes")
    return signed(_DUAL, (account or bytes(_KEY)) + raw, relay_seed)


def read_dual(dual: bytes) -> Signed:
    """The receipt that both its payer and its relay signed; ReceiptError otherwise."""
    try:
        relay, body = opened(_DUAL, dual, MAX_DUAL)
    except SignatureError as error:
        raise ReceiptError(f"not a countersigned receipt: {error}") from error
    account, raw = body[:_KEY], body[_KEY:]
    receipt = read_receipt(raw)
    if receipt.relay != relay:
        raise ReceiptError("a receipt that another relay countersigned than it names")
    return Signed(receipt, raw, dual, account if any(account) else None)


def conflict(a: Receipt, b: Receipt) -> bool:
    """Do two receipts prove that their signer lied to somebody?"""
    return (a.relay, a.payer, a.day, a.seq) == (b.relay, b.payer, b.day, b.seq) and a.cum_bytes != b.cum_bytes


def fraud_proof(raw_a: bytes, raw_b: bytes) -> bytes:
    """The proof that two conflicting receipts are; ReceiptError when they are none. The same for either order."""
    first, second = sorted((raw_a, raw_b))
    if not conflict(read_receipt(first), read_receipt(second)):
        raise ReceiptError("these two receipts do not conflict")
    return len(first).to_bytes(2, "big") + first + second


def read_fraud_proof(raw: bytes) -> bytes:
    """The account that signed two conflicting receipts; ReceiptError when `raw` does not prove it."""
    if not 2 < len(raw) <= MAX_FRAUD_PROOF:
        raise ReceiptError(f"a fraud proof of {len(raw)} bytes; at most {MAX_FRAUD_PROOF} are allowed")
    end = 2 + int.from_bytes(raw[:2], "big")
    first, second = raw[2:end], raw[end:]
    if not first < second:
        raise ReceiptError("a fraud proof has its two receipts in order")
    a, b = read_receipt(first), read_receipt(second)
    if not conflict(a, b):
        raise ReceiptError("these two receipts do not conflict")
    return a.payer


def _encode(receipt: Receipt) -> bytes:
    return cbor.encode(msgspec.to_builtins(receipt, builtin_types=(bytes,)))


def _checked(body: bytes, *, signer: bytes) -> Receipt:
    try:
        receipt = msgspec.convert(cbor.decode(body), Receipt, builtin_types=(bytes,))
    except ValueError as error:
        raise ReceiptError(f"not a receipt: {error}") from error
    if receipt.payer != signer:
        raise ReceiptError("a receipt is signed by its payer")
    if key_of(receipt.relay) is None:
        raise ReceiptError("a receipt names a relay by its Ed25519 peer id")
    return receipt
