"""Digests: what a payer says that relays carried for it on one day, in powers of two. Pure; the clock is passed in.

A digest is at most 1 KiB of signed bytes (`towpath.signed`) by the account around a map in canonical CBOR: see
docs/protocol.md. A reader checks the size, the signature over the raw bytes, the one encoding, every bound, and the
time, in this order. It proves nothing but who says it: it is believed as far as the receipts behind it are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec

from towpath import cbor
from towpath.errors import TowpathError
from towpath.signed import PEER_ID_PREFIX, SignatureError, key_of, opened, signed

__all__ = [
    "AGE_S",
    "DAY_S",
    "LEAST",
    "LIFE_S",
    "MAX_DIGEST",
    "MAX_PAID",
    "Digest",
    "DigestError",
    "NotNow",
    "backs",
    "check_time",
    "compose",
    "due",
    "power",
    "read",
    "sign",
]

MAX_DIGEST: Final = 1024
"""Bytes of a digest, key and signature included."""
MAX_PAID: Final = 18
"""Relays in one digest."""
LEAST: Final = 20
"""The power of two (1 MiB) from which on a relay is worth naming."""
DAY_S: Final = 86400
AGE_S: Final = 86400
"""A day is told of no sooner than so long after its end."""
LIFE_S: Final = 8 * 86400
"""And no later than so long after its end."""
SKEW_S: Final = 300

_KIND: Final = "digest"
_Relay = Annotated[bytes, msgspec.Meta(min_length=38, max_length=38)]
_Power = Annotated[int, msgspec.Meta(ge=LEAST, le=62)]


class DigestError(TowpathError):
    """Bytes that are no digest: too large, not signed, malformed or out of bounds."""


class NotNow(DigestError):
    """A digest of a day that is not told of yet, or no more: one of the two clocks may be wrong."""


class Digest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `payer` says of one day."""

    v: Literal[1]
    payer: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    """The account, whose key signs."""
    at: _Relay
    """The relay whose node shows the receipts on request."""
    day: Annotated[int, msgspec.Meta(ge=0, le=2**24)]
    """Days since 1970, UTC."""
    paid: Annotated[tuple[tuple[_Relay, _Power], ...], msgspec.Meta(min_length=1, max_length=MAX_PAID)]
    """Relays by peer id, in its order, and the power of two of the bytes that they were paid for, rounded down."""


def power(cum_bytes: int) -> int:
    """The power of two in a number of bytes, rounded down; 0 of nothing."""
    return max(0, cum_bytes.bit_length() - 1)


def due(now: float) -> int:
    """The newest day that may be told of at `now` (Unix time)."""
    return int((now - AGE_S) // DAY_S) - 1


def compose(payer: bytes, at: bytes, day: int, paid: Mapping[bytes, int]) -> Digest | None:
    """The digest of what relays (peer ids) were paid for, in bytes; None when none of it is worth telling.

    Of more than MAX_PAID relays those that carried most.
    """
    worth = [(relay, power(n)) for relay, n in paid.items() if power(n) >= LEAST and key_of(relay) is not None]
    worth.sort(key=lambda row: (-row[1], row[0]))
    if not worth:
        return None
    return Digest(v=1, payer=payer, at=at, day=day, paid=tuple(sorted(worth[:MAX_PAID])))


def sign(digest: Digest, seed: bytes) -> bytes:
    """The digest as it goes out, signed with the account's key; DigestError unless a reader would take it."""
    raw = signed(_KIND, _encode(digest), seed)
    if read(raw) != digest:
        raise DigestError("this digest would be read as another one")
    return raw


def read(raw: bytes) -> Digest:
    """The digest that `raw` is, of whatever day; DigestError otherwise."""
    try:
        signer, body = opened(_KIND, raw, MAX_DIGEST)
        digest = msgspec.convert(cbor.decode(body), Digest, builtin_types=(bytes,))
        encoded = _encode(digest)
    except (SignatureError, ValueError) as error:
        raise DigestError(f"not a digest: {error}") from error
    if encoded != body:
        raise DigestError("a digest in another encoding than its own")
    if digest.payer != signer[len(PEER_ID_PREFIX) :]:
        raise DigestError("a digest that somebody else signed")
    relays = [relay for relay, _ in digest.paid]
    if relays != sorted(set(relays)):
        raise DigestError("a digest names each relay once, in order")
    if any(key_of(relay) is None for relay in (digest.at, *relays)):
        raise DigestError("a digest names relays by their Ed25519 peer ids")
    return digest


def check_time(digest: Digest, now: float) -> None:
    """NotNow unless its day is told of at `now` (Unix time)."""
    ended = (digest.day + 1) * DAY_S
    if now < ended + AGE_S - SKEW_S:
        raise NotNow("a digest of a day that is not over for long enough")
    if now > ended + LIFE_S + SKEW_S:
        raise NotNow("a digest of a day long ago")


def backs(digest: Digest, relay: bytes, cum_bytes: int) -> bool:
    """Do so many bytes, by the receipts of the day, bear out what the digest says of a relay?"""
    said = dict(digest.paid).get(relay)
    return said is not None and power(cum_bytes) >= said


def _encode(digest: Digest) -> bytes:
    return cbor.encode(msgspec.to_builtins(digest, builtin_types=(bytes,)))
