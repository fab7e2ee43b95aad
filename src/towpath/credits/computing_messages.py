"""What a node and the process that computes credit say to one another: one message a packet of a Unix SEQPACKET socket.

Pure; both sides import it. The node treats what comes from the process with the same care as what comes from a peer:
the process reads what peers bring.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from towpath.credits.receipts import MAX_DUAL, MAX_EVIDENCE, MAX_FRAUD_PROOF

__all__ = [
    "EDGES_AT_ONCE",
    "KEYS_AT_ONCE",
    "MOST_SCORES",
    "ROWS_AT_ONCE",
    "USED_AT_ONCE",
    "Ask",
    "Begin",
    "Bring",
    "Distrust",
    "Dropped",
    "Fraud",
    "FromChild",
    "FromNode",
    "Give",
    "KeyRow",
    "Load",
    "LoadUsed",
    "Scores",
    "Standing",
    "Stored",
    "Take",
    "Trouble",
    "UsedRow",
    "UsedUp",
    "Walk",
    "decode_from_child",
    "decode_from_node",
]

ROWS_AT_ONCE: Final = 64
USED_AT_ONCE: Final = 500
EDGES_AT_ONCE: Final = 1000
KEYS_AT_ONCE: Final = 500
MOST_SCORES: Final = 1000

Account = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
RelayId = Annotated[bytes, msgspec.Meta(min_length=38, max_length=38)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Amount = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Day = Annotated[int, msgspec.Meta(ge=0, le=2**24)]
Time = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
Dual = Annotated[bytes, msgspec.Meta(max_length=MAX_DUAL)]
Sentence = Annotated[str, msgspec.Meta(max_length=512)]


class Stored(msgspec.Struct, array_like=True, frozen=True):
    """A receipt as it is written down; see `known.Row`."""

    relay: RelayId
    payer: Account
    day: Day
    seq: Amount
    cum_bytes: Amount
    account: Account
    dual: Dual


class UsedRow(msgspec.Struct, array_like=True, frozen=True):
    """What was used of an edge; see `known.Used`."""

    payer: Account
    account: Account
    amount: Amount
    day: Day


class KeyRow(msgspec.Struct, array_like=True, frozen=True):
    """Which receipt; see `known.Key`."""

    relay: RelayId
    payer: Account
    day: Day


# --- from the node ----------------------------------------------------------------------------


class Begin(msgspec.Struct, tag=1, array_like=True, frozen=True):
    """The first message: whose books these are."""

    own: Account


class Load(msgspec.Struct, tag=2, array_like=True, frozen=True):
    """Receipts that were written down."""

    rows: Annotated[list[Stored], msgspec.Meta(max_length=ROWS_AT_ONCE)]


class LoadUsed(msgspec.Struct, tag=3, array_like=True, frozen=True):
    """What was written down as used."""

    rows: Annotated[list[UsedRow], msgspec.Meta(max_length=USED_AT_ONCE)]


class Give(msgspec.Struct, tag=4, array_like=True, frozen=True):
    """Who has credit without receipts, and how much; takes the place of an earlier one."""

    edges: Annotated[list[tuple[Account, Amount]], msgspec.Meta(max_length=EDGES_AT_ONCE)]


class Bring(msgspec.Struct, tag=5, array_like=True, frozen=True):
    """Receipts that this account brought, as they came from it. `Standing` is the answer."""

    number: Number
    account: Account
    duals: Annotated[list[Dual], msgspec.Meta(max_length=MAX_EVIDENCE)]
    now: Time


class Take(msgspec.Struct, tag=6, array_like=True, frozen=True):
    """An account used so much. `Standing` is the answer."""

    number: Number
    account: Account
    amount: Amount
    now: Time


class Ask(msgspec.Struct, tag=7, array_like=True, frozen=True):
    """What has this account? `Standing` is the answer."""

    number: Number
    account: Account
    now: Time


class Walk(msgspec.Struct, tag=8, array_like=True, frozen=True):
    """Who stands how? `Scores` is the answer."""

    number: Number
    seed: Number
    now: Time


class Distrust(msgspec.Struct, tag=9, array_like=True, frozen=True):
    """An account was proven to have lied."""

    account: Account


# --- from the process -------------------------------------------------------------------------


class Standing(msgspec.Struct, tag=1, array_like=True, frozen=True):
    """What an account has, and what is to be written down of what it brought."""

    number: Number
    direct: Amount
    through: Amount
    kept: Annotated[list[Stored], msgspec.Meta(max_length=ROWS_AT_ONCE)] = []
    refused: Number = 0
    why: Sentence = ""
    """What was wrong with the first that was refused as it was no receipt at all."""


class UsedUp(msgspec.Struct, tag=6, array_like=True, frozen=True):
    """What is to be written down once the `Standing` of this number has come; an amount of 0 is to be forgotten."""

    number: Number
    rows: Annotated[list[UsedRow], msgspec.Meta(max_length=USED_AT_ONCE)]


class Scores(msgspec.Struct, tag=2, array_like=True, frozen=True):
    """Accounts and their standing, 0…100, the best first."""

    number: Number
    rows: Annotated[list[tuple[Account, float]], msgspec.Meta(max_length=MOST_SCORES)]


class Dropped(msgspec.Struct, tag=3, array_like=True, frozen=True):
    """Receipts that are to be forgotten."""

    keys: Annotated[list[KeyRow], msgspec.Meta(max_length=KEYS_AT_ONCE)]


class Fraud(msgspec.Struct, tag=4, array_like=True, frozen=True):
    """A proof that somebody signed two receipts of one number."""

    proof: Annotated[bytes, msgspec.Meta(max_length=MAX_FRAUD_PROOF)]


class Trouble(msgspec.Struct, tag=5, array_like=True, frozen=True):
    """Something in the process failed that should not, at the question of this number or another message (0)."""

    number: Number
    sentence: Sentence


FromNode = Begin | Load | LoadUsed | Give | Bring | Take | Ask | Walk | Distrust
FromChild = Standing | Scores | Dropped | Fraud | Trouble | UsedUp

_from_node: msgspec.msgpack.Decoder[FromNode] = msgspec.msgpack.Decoder(FromNode)
_from_child: msgspec.msgpack.Decoder[FromChild] = msgspec.msgpack.Decoder(FromChild)


def decode_from_node(data: bytes) -> FromNode:
    """ValueError for what is no message of the node's."""
    return _from_node.decode(data)


def decode_from_child(data: bytes) -> FromChild:
    """ValueError for what is no message of the process's."""
    return _from_child.decode(data)
