"""Signed bytes: who signed, the signature, then what was signed. Pure; anyone may call it.

The form of whatever one node says and others pass on: `public key (32) | Ed25519 signature (64) | body`, the signature
over `towpath:` + kind + `:` + body, so that what was signed as one kind is never taken for another.
"""

from __future__ import annotations

from typing import Final

from towpath.errors import TowpathError

__all__ = ["OVERHEAD", "PEER_ID_PREFIX", "SignatureError", "key_of", "opened", "signed"]

_KEY: Final = 32
_SIGNATURE: Final = 64
OVERHEAD: Final = _KEY + _SIGNATURE
PEER_ID_PREFIX: Final = b"\x00\x24\x08\x01\x12\x20"
"""What an Ed25519 key's peer id has before the key itself."""


class SignatureError(TowpathError):
    """Bytes that ought to be signed are not, or not by the key they name."""


def key_of(peer_id: bytes) -> bytes | None:
    """The Ed25519 public key that a peer id holds; None when it is another kind of id."""
    return peer_id[len(PEER_ID_PREFIX) :] if len(peer_id) == 38 and peer_id.startswith(PEER_ID_PREFIX) else None


def signed(kind: str, body: bytes, seed: bytes) -> bytes:
    """`body`, signed as `kind` with the key that belongs to the 32-byte `seed`."""
    from towpath._libs import pysodium

    public, secret = pysodium.crypto_sign_seed_keypair(seed)
    signature: bytes = pysodium.crypto_sign_detached(_context(kind) + body, secret)
    return bytes(public) + signature + body


def opened(kind: str, raw: bytes, most: int) -> tuple[bytes, bytes]:
    """Peer id of the signer, and the body; SignatureError when `raw` exceeds `most` bytes or was not signed so."""
    from towpath._libs import pysodium

    if not OVERHEAD < len(raw) <= most:
        raise SignatureError(f"{len(raw)} bytes; more than {OVERHEAD} and at most {most} are allowed")
    key, signature, body = raw[:_KEY], raw[_KEY:OVERHEAD], raw[OVERHEAD:]
    try:
        pysodium.crypto_sign_verify_detached(signature, _context(kind) + body, key)
    except ValueError as error:
        raise SignatureError("the signature is not of the key that it names") from error
    return PEER_ID_PREFIX + key, body


def _context(kind: str) -> bytes:
    return b"towpath:" + kind.encode() + b":"
