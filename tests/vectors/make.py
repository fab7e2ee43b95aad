"""Writes tests/vectors/relaystream.json anew: `python -m tests.vectors.make`. test_vectors.py compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from tests.vectors.make_receipts import DUAL, NONCE, PROOF, RAW

from towpath import cbor
from towpath.relaystream.framing import frame
from towpath.relaystream.messages import (
    Account,
    Allowance,
    Challenge,
    Countersigned,
    Due,
    Evidence,
    Found,
    HandOver,
    Hello,
    Known,
    LookUpPeer,
    LookUpRelays,
    Message,
    Moving,
    Period,
    Receipt,
    Refused,
    Settle,
    Settled,
    Standing,
    Staying,
    Taken,
    encode,
)
from towpath.relaystream.reasons import Answer, Reason, Request

PLACE = Path(__file__).with_name("relaystream.json")
MESSAGES: list[tuple[str, Message]] = [
    ("hello", Hello(1)),
    ("hello of a later version", Hello(2, ("receipts", "lookup"))),
    (
        "reservation refused: all are held",
        Refused(request=Request.RESERVE, code=Reason.RESERVATIONS_FULL, have=128, limit=128),
    ),
    (
        "circuit refused: one of the two has all it may",
        Refused(
            request=Request.CONNECT,
            code=Reason.PEER_FULL,
            have=16,
            limit=16,
            target=bytes.fromhex("0024080112207c6d") + bytes(30),
        ),
    ),
    (
        "circuit refused: the quota is low",
        Refused(
            request=Request.CONNECT,
            code=Reason.QUOTA,
            have=450_000_000,
            limit=5_000_000_000,
            period="day",
            again=9_000,
            target=bytes.fromhex("0024080112207c6d") + bytes(30),
        ),
    ),
    ("nothing is limited", Allowance()),
    (
        "what is left",
        Allowance(
            (Period("hour", 500_000_000, 495_000_000, 1_800), Period("day", 5_000_000_000, 450_000_000, 9_000)), 250_000
        ),
    ),
    ("the owner paused for two hours", Moving(code=Reason.PAUSED, after=60, again=7_200)),
    ("the quota is low", Moving(code=Reason.QUOTA, again=9_000)),
    ("it stays after all", Staying()),
    ("hello of a relay that takes accounts", Hello(1, ("lookup", "account"))),
    ("an account, please", Challenge(NONCE)),
    ("whose account pays", Account(PROOF)),
    ("the relay knows it now", Known()),
    ("and has a receipt of it", Known(RAW)),
    ("what others owe", Evidence((DUAL, DUAL), more=True)),
    ("the last part of it", Evidence((DUAL,))),
    ("how the account stands", Standing(priority=True, credit=1_234_567_890)),
    ("and what is left of its free tier", Standing(priority=False, credit=0, free=734_003_200)),
    ("a receipt, please", Due(20_833, 1_048_576)),
    ("the receipt", Receipt(RAW)),
    ("countersigned", Countersigned(DUAL)),
    ("the client is about to leave", Settle()),
    ("nothing is left to sign", Settled()),
    ("hello of a relay that answers look-ups", Hello(1, ("lookup",))),
    ("where is this peer to be met?", LookUpPeer(1, bytes.fromhex("0024080112207c6d") + bytes(30))),
    ("which relays are there?", LookUpRelays(4_294_967_295, 12)),
    ("the first part of what was found", Found(7, (b"a record", b"another"), more=True)),
    ("the last part", Found(7, (b"a third",))),
    ("nothing was found", Found(1)),
    ("too many look-ups", Found(2, code=Answer.BUSY)),
    ("a record is handed over", HandOver(3, b"a record")),
    ("it is taken", Taken(3)),
    ("it is not taken: no reservation", Taken(4, Answer.NO_RESERVATION)),
]
REFUSED: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("no map", b"\x81\x05"),
    ("no type", cbor.encode({"code": 7})),
    ("type 0", cbor.encode({"t": 0})),
    ("a key is missing", cbor.encode({"t": 4})),
    ("a number is out of bounds", cbor.encode({"t": 4, "code": 65_536})),
    ("more relays than may be asked for", cbor.encode({"t": 33, "id": 1, "most": 13})),
    ("more records than go into a message", cbor.encode({"t": 34, "id": 1, "records": [b"r"] * 8})),
    ("a record that is too long", cbor.encode({"t": 35, "id": 1, "record": bytes(1025)})),
    ("an empty record", cbor.encode({"t": 35, "id": 1, "record": b""})),
    ("a nonce that is too short", cbor.encode({"t": 16, "nonce": bytes(31)})),
    ("no evidence", cbor.encode({"t": 19, "receipts": []})),
    ("more evidence than goes into a message", cbor.encode({"t": 19, "receipts": [b"r"] * 17})),
    ("a receipt that is too long", cbor.encode({"t": 25, "receipt": bytes(321)})),
    ("a null", cbor.encode({"t": 4, "code": 7, "after": None})),
    ("an integer longer than needed", b"\xa1at\x18\x05"),
    ("an indefinite length", b"\xbfat\x05\xff"),
    ("a key twice", b"\xa2at\x05at\x05"),
    ("keys out of order", b"\xa2dcode\x07at\x04"),
    ("a tag", b"\xc0\xa1at\x05"),
    ("bytes behind it", b"\xa1at\x05\x00"),
]
PASSED_OVER: list[tuple[str, bytes]] = [
    ("a type of a later version", cbor.encode({"t": 48, "token": b"\x01"})),
    ("a key of a later version", cbor.encode({"t": 5, "since": 12})),
]


def vectors() -> dict[str, Any]:
    """All of them, as in the file. `bytes` have the length before them, `body` has not."""
    return {
        "messages": [
            {"name": name, "says": plain(message), "bytes": frame(encode(message)).hex()} for name, message in MESSAGES
        ],
        "refused": [{"name": name, "body": body.hex()} for name, body in REFUSED],
        "passed_over": [{"name": name, "body": body.hex()} for name, body in PASSED_OVER],
    }


def plain(message: Message) -> dict[str, Any]:
    """What a message says, with byte strings in hexadecimal."""
    fields = msgspec.to_builtins(message, builtin_types=(bytes,))
    return {key: _plain(value) for key, value in fields.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value.hex() if isinstance(value, bytes) else value


def text() -> str:
    """The whole file."""
    return json.dumps(vectors(), indent=2) + "\n"


if __name__ == "__main__":
    PLACE.write_text(text())
