"""The examples of docs/protocol.md: the code reads and writes exactly these bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.vectors import make, make_receipts, make_records, make_reputation
from towpath.client.ticket import Ticket
from towpath.client.tunnel import wire
from towpath.credits import account, receipts
from towpath.credits.account import AccountError
from towpath.credits.receipts import ReceiptError
from towpath.discovery import records
from towpath.discovery.records import RecordError
from towpath.relaystream.messages import ControlProtocolError, Staying, Unknown, decode
from towpath.reputation import digest as digests
from towpath.reputation.digest import DigestError
from towpath.reputation.messages import Fraud, open_message

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "tunnel.json").read_text())


def test_the_ticket() -> None:
    found = VECTORS["ticket"]
    ticket = Ticket(found["peer_id"], tuple(found["relays"]), bytes.fromhex(found["secret"]), found["expires_at"])
    assert ticket.encode() == found["text"]
    assert Ticket.decode(found["text"]) == ticket


def test_what_an_opener_says() -> None:
    for found in VECTORS["openings"]:
        asked = found["asks"]
        opening: wire.Carry | wire.Follow = wire.Follow()
        if asked:
            session = bytes.fromhex(asked["session"])
            opening = wire.Carry(session, asked["turn"], asked["received"], asked["begun"])
        assert (bytes.fromhex(found["secret"]) + opening.encode()).hex() == found["bytes"]
        assert wire.decode_opening(bytes.fromhex(found["bytes"])[18:]) == opening


def test_what_a_sharer_answers() -> None:
    for found in VECTORS["answers"]:
        answer = wire.Answer(found["code"], found["why"], found["received"])
        assert answer.encode().hex() == found["bytes"]
        assert wire.Answer.decode(bytes.fromhex(found["bytes"])[2:]) == answer


def test_where_a_sharer_can_be_met() -> None:
    found = VECTORS["relays"]
    relays = wire.Relays(tuple(found["relays"]))
    assert relays.encode().hex() == found["bytes"]
    assert wire.Relays.decode(bytes.fromhex(found["bytes"])[2:]) == relays


def test_the_frames() -> None:
    found = VECTORS["frames"]
    data = found["data"].encode()
    sent = wire.data_header(len(data)) + data + wire.ack(found["acknowledged"]) + wire.PROBE + wire.END + wire.ABORT
    assert sent.hex() == found["bytes"]
    came = wire.FrameReader().feed(bytes.fromhex(found["bytes"]))
    assert [kind for kind, _ in came] == [wire.Kind[name] for name in ("DATA", "ACK", "PROBE", "END", "ABORT")]
    assert bytes(came[0][1]) == data  # type: ignore[arg-type]
    assert came[1][1] == found["acknowledged"]


def test_what_is_no_tunnel_message_is_refused() -> None:
    for found in VECTORS["refused"]:
        reads = {"opening": wire.decode_opening, "answer": wire.Answer.decode, "relays": wire.Relays.decode}
        with pytest.raises(wire.TunnelProtocolError):
            reads[found["as"]](bytes.fromhex(found["body"]))
    for text in VECTORS["refused_frames"].values():
        with pytest.raises(wire.TunnelProtocolError):
            wire.FrameReader().feed(bytes.fromhex(text))


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
    assert [decode(bytes.fromhex(vector["body"])) for vector in found["passed_over"]] == [Unknown(48), Staying()]


# --- receipts ----------------------------------------------------------------------------------------------------


def test_receipts_are_written_as_they_are_checked_in() -> None:
    assert make_receipts.PLACE.read_text() == make_receipts.text(), "python -m tests.vectors.make_receipts"


def test_receipts_are_read_as_they_are_checked_in() -> None:
    found = json.loads(make_receipts.PLACE.read_text())
    relay, payer, nonce = (bytes.fromhex(found[key]) for key in ("relay", "payer", "nonce"))
    client = bytes.fromhex(found["client"])
    assert account.read_proof(bytes.fromhex(found["proof"]), relay, client, nonce) == payer
    for vector, (_, receipt) in zip(found["receipts"], make_receipts.RECEIPTS, strict=True):
        raw, dual = bytes.fromhex(vector["bytes"]), bytes.fromhex(vector["countersigned"])
        assert receipts.read_receipt(raw) == receipt
        assert receipts.read_dual(dual)[:3] == (receipt, raw, dual)
        assert receipts.read_dual(dual).relay_account == make_receipts.OWNER.public_key
    assert receipts.read_fraud_proof(bytes.fromhex(found["fraud_proof"])) == payer
    read = {
        "receipt": receipts.read_receipt,
        "countersigned": receipts.read_dual,
        "fraud proof": receipts.read_fraud_proof,
        "proof": lambda raw: account.read_proof(raw, relay, client, nonce),
    }
    for vector in found["refused"]:
        with pytest.raises((ReceiptError, AccountError)):
            read[vector["as"]](bytes.fromhex(vector["bytes"]))


# --- reputation --------------------------------------------------------------------------------------------------


def test_the_gossip_is_read_and_written_as_it_is_checked_in() -> None:
    found = json.loads(make_reputation.PLACE.read_text())
    assert found == make_reputation.made(), "python -m tests.vectors.make_reputation"
    raw, digest = bytes.fromhex(found["digest"]["bytes"]), make_reputation.DIGEST
    assert digests.read(raw) == digest
    assert digests.sign(digest, bytes.fromhex(found["seed"])) == raw
    first, second = (open_message(bytes.fromhex(vector["bytes"]), found["now"]) for vector in found["messages"])
    assert first == digest
    assert isinstance(second, Fraud)
    assert second.account.hex() == found["messages"][1]["account"]
    for vector in found["refused"]:
        with pytest.raises(DigestError):
            open_message(bytes.fromhex(vector["bytes"]), found["now"])


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
