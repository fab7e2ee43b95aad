"""What the gossip carries: digests and fraud proofs, each behind one byte that says which. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from towpath.credits.receipts import MAX_FRAUD_PROOF, ReceiptError, read_fraud_proof
from towpath.reputation.digest import MAX_DIGEST, Digest, DigestError, NotNow, check_time, read

__all__ = ["MAX_MESSAGE", "TOPIC", "Fraud", "Message", "MessageError", "of_digest", "of_fraud", "open_message"]

TOPIC: Final = "/towpath/reputation/1"
_DIGEST: Final = b"\x01"
_FRAUD: Final = b"\x02"
MAX_MESSAGE: Final = 1 + max(MAX_DIGEST, MAX_FRAUD_PROOF)


class MessageError(DigestError):
    """Bytes that are no message of the gossip."""


class Fraud(NamedTuple):
    """A proof that an account signed two receipts that contradict each other."""

    account: bytes
    proof: bytes


Message = Digest | Fraud


def of_digest(raw: bytes) -> bytes:
    """The message that a signed digest goes out in."""
    return _DIGEST + raw


def of_fraud(proof: bytes) -> bytes:
    """The message that a fraud proof goes out in."""
    return _FRAUD + proof


def open_message(data: bytes, now: float) -> Message:
    """The message in `data`; DigestError when it is none, NotNow when it is not for now (Unix time), or not for us."""
    if not 1 < len(data) <= MAX_MESSAGE:
        raise MessageError(f"a message of {len(data)} bytes; 2 to {MAX_MESSAGE} are allowed")
    kind, rest = data[:1], data[1:]
    if kind == _DIGEST:
        digest = read(rest)
        check_time(digest, now)
        return digest
    if kind == _FRAUD:
        try:
            return Fraud(read_fraud_proof(rest), rest)
        except ReceiptError as error:
            raise MessageError(str(error)) from error
    raise NotNow("a message that is neither a digest nor a fraud proof; a later version may know it")
