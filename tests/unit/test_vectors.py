"""The examples of docs/protocol.md: the code reads and writes exactly these bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.vectors import make, make_records
from towpath.client.ticket import Ticket
from towpath.client.tunnel import wire
from towpath.discovery import records
from towpath.discovery.records import RecordError
from towpath.relaystream.messages import ControlProtocolError, Staying, Unknown, decode

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "tunnel.json").read_text())


def test_the_ticket() -> None:
    found = VECTORS["ticket"]
    ticket = Ticket(found["peer_id"], tuple(found["relays"]), bytes.fromhex(found["secret"]), found["expires_at"])
    assert ticket.encode() == found["text"]
    assert Ticket.decode(found["text"]) == ticket


def test_the_opening() -> None:
    found = VECTORS["opening"]
    opening = wire.Opening(bytes.fromhex(found["session"]), bytes.fromhex(found["secret"]))
    assert opening.encode().hex() == found["bytes"]
    assert wire.Opening.decode(bytes.fromhex(found["bytes"])[2:]) == opening


def test_the_answer() -> None:
    found = VECTORS["answer"]
    answer = wire.Answer(found["code"], found["why"])
    assert answer.encode().hex() == found["bytes"]
    assert wire.Answer.decode(bytes.fromhex(found["bytes"])[2:]) == answer


def test_the_frames() -> None:
    found = VECTORS["frames"]
    data = found["data"].encode()
    assert (wire.data_header(len(data)) + data + wire.END).hex() == found["bytes"]
    reader = wire.FrameReader()
    assert b"".join(bytes(piece) for piece in reader.feed(bytes.fromhex(found["bytes"]))) == data
    assert reader.ended


# --- the control stream ------------------------------------------------------------------------------------------


def test_the_control_stream_writes_what_is_checked_in() -> None:
    assert make.PLACE.read_text() == make.text(), "python -m tests.vectors.make writes it anew"


def test_the_control_stream_reads_what_is_checked_in() -> None:
    found = json.loads(make.PLACE.read_text())
    for vector, (_, message) in zip(found["messages"], make.MESSAGES, strict=True):
        data = bytes.fromhex(vector["bytes"])
        assert int.from_bytes(data[:2], "big") == len(data) - 2
        assert decode(data[2:]) == message
    for vector in found["refused"]:
        with pytest.raises(ControlProtocolError):
            decode(bytes.fromhex(vector["body"]))
    assert [decode(bytes.fromhex(vector["body"])) for vector in found["passed_over"]] == [Unknown(16), Staying()]


# --- records -----------------------------------------------------------------------------------------------------


def test_records_are_written_as_they_are_checked_in() -> None:
    assert make_records.PLACE.read_text() == make_records.text(), "python -m tests.vectors.make_records writes it anew"


def test_records_are_read_as_they_are_checked_in() -> None:
    found = json.loads(make_records.PLACE.read_text())
    read = {"advertisement": records.read_advertisement, "peer": records.read_peer_record}
    for vector, (_, record) in zip(found["records"], make_records.RECORDS, strict=True):
        raw = bytes.fromhex(vector["bytes"])
        assert read[vector["kind"]](raw, found["now"]) == record
        assert records.valid(vector["key"], raw, found["now"])
    for vector in found["refused"]:
        with pytest.raises(RecordError):
            read[vector["kind"]](bytes.fromhex(vector["bytes"]), found["now"])
