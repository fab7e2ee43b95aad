"""The messages of the control stream: typed, bounded, and in one encoding each. Pure.

A message is a map in canonical CBOR whose key `t` says which one it is. Times are seconds from now, because the two
clocks differ. A type that is not known here is `Unknown` and ignored, and so is a key that a known type does not have:
a later version may say more, but nothing in such a key that the receiver has to understand. A key whose value is not
known is left out; null is not used.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from towpath import cbor
from towpath.credits.receipts import MAX_DUAL, MAX_RECEIPT
from towpath.errors import TowpathError

__all__ = [
    "FROM_PAYER",
    "MAX_ASKED",
    "MAX_BROUGHT",
    "MAX_FOUND",
    "MAX_MESSAGE",
    "VERSION",
    "Account",
    "Allowance",
    "Challenge",
    "ControlProtocolError",
    "Countersigned",
    "Due",
    "Evidence",
    "Found",
    "HandOver",
    "Hello",
    "Known",
    "LookUpPeer",
    "LookUpRelays",
    "Message",
    "Moving",
    "Period",
    "PeriodName",
    "Receipt",
    "Refused",
    "Settle",
    "Settled",
    "ShowReceipts",
    "Standing",
    "Staying",
    "Taken",
    "Unknown",
    "decode",
    "encode",
]

VERSION: Final = 1
MAX_MESSAGE: Final = 8192
"""Bytes of an encoded message, the length before it not counted."""
MAX_TYPE: Final = 0xFFFF
MAX_FOUND: Final = 7
"""Records in one message."""
MAX_ASKED: Final = 12
"""Relays that one look-up asks for."""
MAX_BROUGHT: Final = 16
"""Countersigned receipts in one message."""

_Code = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
_Amount = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Seconds = Annotated[int, msgspec.Meta(ge=0, le=366 * 86400)]
_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
_PeerId = Annotated[bytes, msgspec.Meta(min_length=1, max_length=64)]
_Id = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_Record = Annotated[bytes, msgspec.Meta(min_length=1, max_length=1024)]
_Receipt = Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_RECEIPT)]
_Dual = Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_DUAL)]
PeriodName = Literal["hour", "day", "month"]


class ControlProtocolError(TowpathError):
    """The other side does not keep to the control stream's protocol."""


class Hello(msgspec.Struct, frozen=True, tag_field="t", tag=1, omit_defaults=True):
    """The first message of each side, sent without waiting for the other's."""

    version: Annotated[int, msgspec.Meta(ge=1, le=0xFFFF)]
    """The highest version that the sender knows; what goes on is the lower of the two."""
    can: Annotated[tuple[_Word, ...], msgspec.Meta(max_length=16)] = ()
    """What the sender understands beyond its version."""


class Refused(msgspec.Struct, frozen=True, tag_field="t", tag=2, omit_defaults=True, kw_only=True):
    """Relay to client, before the status of HOP that it explains."""

    request: Annotated[int, msgspec.Meta(ge=0, le=0xFF)]
    """A `reasons.Request`."""
    code: _Code
    """A `reasons.Reason`, which says what the numbers are."""
    have: _Amount | None = None
    limit: _Amount | None = None
    period: PeriodName | None = None
    again: _Seconds | None = None
    """Seconds after which asking again makes sense."""
    target: _PeerId | None = None
    """Of CONNECT: to whom."""


class Period(msgspec.Struct, frozen=True):
    """What a quota allows, in bytes, and the seconds until it is full again."""

    period: PeriodName
    limit: _Amount
    left: _Amount
    resets: _Seconds


class Allowance(msgspec.Struct, frozen=True, tag_field="t", tag=3, omit_defaults=True):
    """Relay to client: what it may still carry for everybody together. An earlier one no longer counts."""

    periods: Annotated[tuple[Period, ...], msgspec.Meta(max_length=3)] = ()
    rate: _Amount | None = None
    """Bytes per second; absent: no limit of its own."""


class Moving(msgspec.Struct, frozen=True, tag_field="t", tag=4, omit_defaults=True, kw_only=True):
    """Relay to client: it takes nothing new, and will end what is open. An earlier one no longer counts."""

    code: _Code
    """A `reasons.Reason`."""
    after: _Seconds | None = None
    """Seconds until it ends what is open; absent: nothing is ended for now."""
    again: _Seconds | None = None
    """Seconds until it takes reservations and circuits again; absent: not known."""


class Staying(msgspec.Struct, frozen=True, tag_field="t", tag=5):
    """Relay to client: it does not move out after all, or is back."""


class Challenge(msgspec.Struct, frozen=True, tag_field="t", tag=16):
    """Relay to client, once, behind its HELLO: it takes accounts."""

    nonce: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    """Never used before."""


class Account(msgspec.Struct, frozen=True, tag_field="t", tag=17):
    """Client to relay, once: whose account pays for what this client sends."""

    proof: _Record
    """See `credits.account`."""


class Known(msgspec.Struct, frozen=True, tag_field="t", tag=18, omit_defaults=True):
    """Relay to client: it knows the account now, and counts what the client sends."""

    last: _Receipt | None = None
    """The newest receipt that it has of this account."""


class Evidence(msgspec.Struct, frozen=True, tag_field="t", tag=19, omit_defaults=True):
    """Client to relay, behind ACCOUNT: what others owe, so that credit may flow. At most 64 receipts on one stream."""

    receipts: Annotated[tuple[_Dual, ...], msgspec.Meta(min_length=1, max_length=MAX_BROUGHT)]
    more: bool = False
    """Another part follows."""


class Standing(msgspec.Struct, frozen=True, tag_field="t", tag=20, omit_defaults=True):
    """Relay to client: how its account stands there. An earlier one no longer counts."""

    priority: bool
    """Is it served before others when it is crowded?"""
    credit: _Amount
    """Bytes that it earned and has not used."""
    free: _Amount | None = None
    """Bytes that are left of its free tier."""


class Due(msgspec.Struct, frozen=True, tag_field="t", tag=24):
    """Relay to client: so much was carried that nothing is signed for yet; a receipt, please."""

    day: Annotated[int, msgspec.Meta(ge=0, le=2**24)]
    """The day that they belong to."""
    bytes: _Amount


class Receipt(msgspec.Struct, frozen=True, tag_field="t", tag=25):
    """Client to relay."""

    receipt: _Receipt


class Countersigned(msgspec.Struct, frozen=True, tag_field="t", tag=26):
    """Relay to client: a receipt with the relay's signature as well."""

    receipt: _Dual


class Settle(msgspec.Struct, frozen=True, tag_field="t", tag=27):
    """Client to relay: it is about to leave; the relay asks for what is left, countersigns, and says SETTLED."""


class Settled(msgspec.Struct, frozen=True, tag_field="t", tag=28):
    """Relay to client: nothing is left to sign."""


class LookUpPeer(msgspec.Struct, frozen=True, tag_field="t", tag=32):
    """Client to relay: where is this peer to be met?"""

    id: _Id
    """Of the client's choice; the answer repeats it."""
    peer_id: _PeerId


class LookUpRelays(msgspec.Struct, frozen=True, tag_field="t", tag=33):
    """Client to relay: which relays are there?"""

    id: _Id
    most: Annotated[int, msgspec.Meta(ge=1, le=MAX_ASKED)]


class ShowReceipts(msgspec.Struct, frozen=True, tag_field="t", tag=29):
    """Anybody to a relay: the countersigned receipts behind what this account told of a day. `Found` answers."""

    id: _Id
    payer: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    day: Annotated[int, msgspec.Meta(ge=0, le=2**24)]


class Found(msgspec.Struct, frozen=True, tag_field="t", tag=34, omit_defaults=True):
    """Relay to client: (a part of) the answer to a look-up, or 0 records when nothing was found."""

    id: _Id
    records: Annotated[tuple[_Record, ...], msgspec.Meta(max_length=MAX_FOUND)] = ()
    """As their signers signed them; the relay vouches for nothing."""
    more: bool = False
    """Another part follows."""
    code: _Code = 0
    """A `reasons.Answer`."""


class HandOver(msgspec.Struct, frozen=True, tag_field="t", tag=35):
    """Client to relay: the client's own record, to be published while it holds a reservation here."""

    id: _Id
    record: _Record


class Taken(msgspec.Struct, frozen=True, tag_field="t", tag=36, omit_defaults=True):
    """Relay to client: what became of a record that was handed over."""

    id: _Id
    code: _Code = 0
    """A `reasons.Answer`."""


class Unknown(msgspec.Struct, frozen=True):
    """A message of a type that this version does not know."""

    type: int


Message = (
    (Hello | Refused | Allowance | Moving | Staying)
    | (Challenge | Account | Known | Evidence | Standing)
    | (Due | Receipt | Countersigned | Settle | Settled)
    | (LookUpPeer | LookUpRelays | ShowReceipts | Found | HandOver | Taken)
)
_TYPES: Final = {
    1: Hello,
    2: Refused,
    3: Allowance,
    4: Moving,
    5: Staying,
    16: Challenge,
    17: Account,
    18: Known,
    19: Evidence,
    20: Standing,
    24: Due,
    25: Receipt,
    26: Countersigned,
    27: Settle,
    28: Settled,
    29: ShowReceipts,
    32: LookUpPeer,
    33: LookUpRelays,
    34: Found,
    35: HandOver,
    36: Taken,
}


FROM_PAYER: Final = (Account, Evidence, Receipt, Settle)
"""What a client says to a relay that takes accounts."""


def encode(message: Message) -> bytes:
    """The one encoding of a message, without a length before it."""
    return cbor.encode(msgspec.to_builtins(message, builtin_types=(bytes,)))


def decode(body: bytes) -> Message | Unknown:
    """The message that `body` is; ControlProtocolError when it is none, or says what is out of bounds."""
    if not 1 <= len(body) <= MAX_MESSAGE:
        raise ControlProtocolError(f"a control message of {len(body)} bytes; 1 to {MAX_MESSAGE} are allowed")
    try:
        fields = cbor.decode(body)
    except ValueError as error:
        raise ControlProtocolError(f"a control message is {error}") from error
    if not isinstance(fields, dict):
        raise ControlProtocolError("a control message is no map")
    kind = fields.get("t")
    if isinstance(kind, bool) or not isinstance(kind, int) or not 1 <= kind <= MAX_TYPE:
        raise ControlProtocolError("a control message without a type")
    cls = _TYPES.get(kind)
    if cls is None:
        return Unknown(kind)
    try:
        message: Message = msgspec.convert(fields, cls, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise ControlProtocolError(f"a control message {cls.__name__}: {error}") from error
    if None in fields.values():
        raise ControlProtocolError("a control message with a null")
    return message
