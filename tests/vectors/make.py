"""Writes tests/vectors/relaystream.json anew: `python -m tests.vectors.make`. test_vectors.py compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from towpath import cbor
from towpath.relaystream.framing import frame
from towpath.relaystream.messages import Allowance, Hello, Message, Moving, Period, Refused, Staying, encode
from towpath.relaystream.reasons import Reason, Request

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
]
REFUSED: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("no map", b"\x81\x05"),
    ("no type", cbor.encode({"code": 7})),
    ("type 0", cbor.encode({"t": 0})),
    ("a key is missing", cbor.encode({"t": 4})),
    ("a number is out of bounds", cbor.encode({"t": 4, "code": 65_536})),
    ("a null", cbor.encode({"t": 4, "code": 7, "after": None})),
    ("an integer longer than needed", b"\xa1at\x18\x05"),
    ("an indefinite length", b"\xbfat\x05\xff"),
    ("a key twice", b"\xa2at\x05at\x05"),
    ("keys out of order", b"\xa2dcode\x07at\x04"),
    ("a tag", b"\xc0\xa1at\x05"),
    ("bytes behind it", b"\xa1at\x05\x00"),
]
PASSED_OVER: list[tuple[str, bytes]] = [
    ("a type of a later version", cbor.encode({"t": 16, "proof": b"\x01"})),
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
    return {key: value.hex() if isinstance(value, bytes) else value for key, value in fields.items()}


def text() -> str:
    """The whole file."""
    return json.dumps(vectors(), indent=2) + "\n"


if __name__ == "__main__":
    PLACE.write_text(text())
