"""Messages of the control stream: what is one, what is none, and what is passed over."""

from __future__ import annotations

import cbor2
import pytest

from towpath import cbor
from towpath.relaystream.framing import MessageReader, Pace, frame
from towpath.relaystream.messages import (
    MAX_MESSAGE,
    Allowance,
    ControlProtocolError,
    Hello,
    Message,
    Moving,
    Period,
    Refused,
    Staying,
    Unknown,
    decode,
    encode,
)

YEAR = 366 * 86400
MESSAGES: list[Message] = [
    Hello(1),
    Hello(7, ("receipts", "lookup")),
    Refused(request=0, code=1, have=128, limit=128),
    Refused(request=1, code=4, have=16, limit=16, target=b"\x00\x24" + bytes(36)),
    Refused(request=0, code=5, have=2**63 - 1, limit=2**63 - 1, period="month", again=YEAR),
    Allowance(),
    Allowance((Period("hour", 500, 400, 0), Period("day", 5000, 0, 60), Period("month", 0, 0, YEAR)), 250_000),
    Moving(code=7),
    Moving(code=12, after=0, again=7200),
    Staying(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=repr)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    assert decode(encode(message)) == message


def test_what_is_not_said_takes_no_bytes() -> None:
    assert encode(Staying()) == b"\xa1at\x05"
    assert encode(Moving(code=7)) == b"\xa2at\x04dcode\x07"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"t": None},
        {"t": True},
        {"t": 0},
        {"t": -1},
        {"t": 65536},
        {"t": 2**64 - 1},
        {"t": "1"},
        {"t": [1]},
        {"t": 1, "version": 0},
        {"t": 1, "version": 65536},
        {"t": 1, "version": "1"},
        {"t": 1, "version": True},
        {"t": 1},
        {"t": 1, "version": 1, "can": "receipts"},
        {"t": 1, "version": 1, "can": ["x"] * 17},
        {"t": 1, "version": 1, "can": [""]},
        {"t": 1, "version": 1, "can": ["x" * 33]},
        {"t": 1, "version": 1, "can": [b"x"]},
        {"t": 1, "version": 1, "can": None},
        {"t": 2, "code": 1},
        {"t": 2, "request": 0},
        {"t": 2, "request": 256, "code": 1},
        {"t": 2, "request": 0, "code": 65536},
        {"t": 2, "request": 0, "code": 1, "have": -1},
        {"t": 2, "request": 0, "code": 1, "have": 2**63},
        {"t": 2, "request": 0, "code": 1, "limit": 2**64 - 1},
        {"t": 2, "request": 0, "code": 1, "have": None},
        {"t": 2, "request": 0, "code": 1, "again": YEAR + 1},
        {"t": 2, "request": 0, "code": 1, "period": "year"},
        {"t": 2, "request": 0, "code": 1, "target": b""},
        {"t": 2, "request": 0, "code": 1, "target": b"x" * 65},
        {"t": 2, "request": 0, "code": 1, "target": "eHg="},
        {"t": 3, "periods": [{"period": "hour", "limit": 1, "left": 1}]},
        {"t": 3, "periods": [{"period": "hour", "limit": 1, "left": 1, "resets": 1}] * 4},
        {"t": 3, "periods": [["hour", 1, 1, 1]]},
        {"t": 3, "rate": -1},
        {"t": 4},
        {"t": 4, "code": 1, "after": -1},
        {"t": 4, "code": 1, "again": YEAR + 1},
        {"t": 4, "code": 1, "after": "soon"},
    ],
    ids=repr,
)
def test_what_is_out_of_bounds_is_no_message(fields: dict[str, cbor.Value]) -> None:
    with pytest.raises(ControlProtocolError):
        decode(cbor.encode(fields))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xa1at\x18\x05",
        b"\xbfat\x05\xff",
        b"\xa2at\x05at\x05",
        b"\xa1at\x05\x00",
        b"\xa2dcode\x07at\x04",
        b"\xc0\xa1at\x05",
        b"\xa2at\x05bxx\xc1\x00",
        b"\xa2at\x05bxx\xf9\x00\x00",
        b"\xa1\x01\x05",
        b"\x05",
        b"\x81\x05",
        b"\xf6",
        pytest.param(cbor2.dumps({"t": 5, "x": "y" * MAX_MESSAGE}, canonical=True), id="large"),
    ],
    ids=repr,
)
def test_what_is_not_canonical_or_too_large_is_no_message(body: bytes) -> None:
    with pytest.raises(ControlProtocolError):
        decode(body)


@pytest.mark.parametrize("kind", [6, 23, 47, 65535])
def test_a_type_of_a_later_version_is_passed_over(kind: int) -> None:
    assert decode(cbor.encode({"t": kind, "anything": [1, None, {"x": b"y"}]})) == Unknown(kind)


def test_a_key_of_a_later_version_is_passed_over() -> None:
    assert decode(cbor.encode({"t": 4, "code": 7, "where": "elsewhere"})) == Moving(code=7)


def test_messages_are_cut_out_of_any_pieces() -> None:
    stream = b"".join(frame(encode(message)) for message in MESSAGES)
    reader = MessageReader()
    bodies = [body for at in range(len(stream)) for body in reader.feed(stream[at : at + 1])]
    assert [decode(body) for body in bodies] == MESSAGES
    assert not reader.unfinished
    assert [decode(body) for body in reader.feed(stream)] == MESSAGES
    assert reader.feed(stream[:1]) == []
    assert reader.unfinished


@pytest.mark.parametrize("size", [0, MAX_MESSAGE + 1, 65535])
def test_a_length_is_judged_before_its_bytes_come(size: int) -> None:
    with pytest.raises(ControlProtocolError):
        MessageReader().feed(size.to_bytes(2, "big"))
    with pytest.raises(ValueError, match="bytes"):
        frame(bytes(size))


def test_the_pace_allows_a_burst_and_then_a_rate() -> None:
    pace = Pace(3.0, 2.0)
    assert [pace.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [pace.take(100.5) for _ in range(2)] == [True, False]
    assert [pace.take(200.0) for _ in range(4)] == [True, True, True, False]
    assert not pace.take(150.0)
