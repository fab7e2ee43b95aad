"""Writes tests/vectors/records.json anew: `python -m tests.vectors.make_records`. test_vectors.py compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from towpath import addresses, cbor
from towpath.discovery import records
from towpath.discovery.records import NO_CAPACITY, Advertisement, Capacity, PeerRecord, Record, sign
from towpath.discovery.shards import shard_key, shard_of
from towpath.identity import Identity
from towpath.signed import OVERHEAD, signed

PLACE = Path(__file__).with_name("records.json")
NOW = 1_900_000_000
RELAY = Identity(bytes((7,)) * 32)
OTHER = Identity(bytes((8,)) * 32)

_RELAYING = Advertisement(
    v=1,
    peer_id=RELAY.peer_id,
    addrs=(addresses.to_bytes("/ip4/192.31.196.7/tcp/4001"), addresses.to_bytes("/ip6/2620:4f::7/tcp/4001")),
    mode="cooperative",
    capacity=Capacity(128, 256, None, 250_000),
    load=2,
    price=0,
    reputation=80,
    uptime_estimate=97,
    last_seen=NOW - 60,
    seq=NOW - 60,
    not_after=NOW - 60 + 7200,
    account=bytes(range(32)),
    family="canal",
)
_DEDICATED = Advertisement(
    v=1,
    peer_id=RELAY.peer_id,
    addrs=(addresses.to_bytes("/dns4/relay.example.org/tcp/443"),),
    mode="dedicated",
    capacity=Capacity(),
    load=0,
    price=0,
    last_seen=NOW,
    seq=0,
    not_after=NOW,
)
_WITHDRAWN = Advertisement(
    v=1,
    peer_id=RELAY.peer_id,
    addrs=(),
    mode="cooperative",
    capacity=NO_CAPACITY,
    load=7,
    price=0,
    last_seen=NOW,
    seq=NOW,
    not_after=NOW - 60 + 7200,
)
_HERE = f"/ip4/192.31.196.7/tcp/4001/p2p/{OTHER.text}/p2p-circuit"
_MET = PeerRecord(
    v=1,
    peer_id=RELAY.peer_id,
    circuits=(addresses.to_bytes(_HERE), addresses.to_bytes(f"/dns6/a.example/tcp/1/p2p/{OTHER.text}/p2p-circuit")),
    seq=12,
    issued=NOW - 10,
    not_after=NOW + 3600,
)
_NOWHERE = PeerRecord(v=1, peer_id=RELAY.peer_id, circuits=(), seq=13, issued=NOW, not_after=NOW + 7200)
RECORDS: list[tuple[str, Record]] = [
    ("a volunteer's relay", _RELAYING),
    ("a dedicated relay without limits", _DEDICATED),
    ("a relay that withdraws", _WITHDRAWN),
    ("a peer at two relays", _MET),
    ("a peer that is nowhere", _NOWHERE),
]


def _changed(record: Record, **changes: Any) -> bytes:
    fields = msgspec.to_builtins(record, builtin_types=(bytes,)) | changes
    return _signed(record, cbor.encode({key: value for key, value in fields.items() if value != "left out"}))


def _signed(record: Record, body: bytes) -> bytes:
    return signed("advertisement" if isinstance(record, Advertisement) else "peer", body, RELAY.seed)


def _twisted(record: Record, at: int) -> bytes:
    raw = bytearray(sign(record, RELAY.seed))
    raw[at] ^= 1
    return bytes(raw)


def _refused() -> list[tuple[str, str, bytes]]:
    direct = addresses.to_bytes("/ip4/192.31.196.7/tcp/4001")
    targeted = addresses.to_bytes(f"{_HERE}/p2p/{RELAY.text}")
    body = sign(_MET, RELAY.seed)[OVERHEAD:]
    return [
        ("a changed body", "advertisement", _twisted(_RELAYING, OVERHEAD + 20)),
        ("another signer's key", "advertisement", OTHER.public_key + sign(_RELAYING, RELAY.seed)[32:]),
        ("signed as another kind", "advertisement", signed("peer", sign(_RELAYING, RELAY.seed)[OVERHEAD:], RELAY.seed)),
        ("of another kind", "peer", sign(_RELAYING, RELAY.seed)),
        ("another one's id", "advertisement", _changed(_RELAYING, peer_id=OTHER.peer_id)),
        ("no body", "peer", sign(_MET, RELAY.seed)[:OVERHEAD]),
        ("too large", "advertisement", _changed(_RELAYING, family="x" * 1000)),
        ("a later version", "advertisement", _changed(_RELAYING, v=2)),
        ("a price", "advertisement", _changed(_RELAYING, price=1)),
        ("an unknown key", "advertisement", _changed(_RELAYING, colour="red")),
        ("a null", "advertisement", _changed(_RELAYING, family=None)),
        ("a family that cannot be shown", "advertisement", _changed(_RELAYING, family="canal\x1b[2J")),
        ("no addresses, and not withdrawn", "advertisement", _changed(_RELAYING, addrs=[])),
        ("a circuit address", "advertisement", _changed(_RELAYING, addrs=list(_MET.circuits))),
        ("an address twice", "advertisement", _changed(_RELAYING, addrs=[direct, direct])),
        ("a load of 8", "advertisement", _changed(_RELAYING, load=8)),
        ("half a withdrawal", "advertisement", _changed(_RELAYING, capacity={"reservations": 0})),
        ("too long a life", "advertisement", _changed(_RELAYING, not_after=NOW + 7200)),
        ("expired", "advertisement", _changed(_RELAYING, last_seen=NOW - 7300, not_after=NOW - 101)),
        ("from the future", "advertisement", _changed(_RELAYING, last_seen=NOW + 301, not_after=NOW + 400)),
        ("an address of its own", "peer", _changed(_MET, circuits=[direct])),
        ("a circuit with a target", "peer", _changed(_MET, circuits=[targeted])),
        ("nine circuits", "peer", _changed(_MET, circuits=[*_MET.circuits] * 5)),
        ("an end before its beginning", "peer", _changed(_MET, issued=NOW, not_after=NOW - 1)),
        ("a key is missing", "peer", _changed(_MET, seq="left out")),
        ("bytes behind it", "peer", _signed(_MET, body + b"\x00")),
        ("an integer longer than needed", "peer", _signed(_MET, body.replace(b"\x61v\x01", b"\x61v\x18\x01"))),
        ("a tag", "peer", _signed(_MET, b"\xc0" + body)),
    ]


def vectors() -> dict[str, Any]:
    """All of them, as in the file. What is refused is so by a reader at `now`."""
    return {
        "now": NOW,
        "seed": RELAY.seed.hex(),
        "records": [
            {
                "name": name,
                "kind": "advertisement" if isinstance(record, Advertisement) else "peer",
                "key": key_of(record),
                "says": plain(record),
                "bytes": sign(record, RELAY.seed).hex(),
            }
            for name, record in RECORDS
        ],
        "refused": [{"name": name, "kind": kind, "bytes": raw.hex()} for name, kind, raw in _refused()],
        "shards": [
            {"relay": one.text, "shard": shard_of(one.peer_id), "key": shard_key(shard_of(one.peer_id)).hex()}
            for one in (RELAY, OTHER)
        ],
    }


def key_of(record: Record) -> str:
    """The DHT key that a record stands under."""
    key = records.advertisement_key if isinstance(record, Advertisement) else records.peer_key
    return key(record.peer_id)


def plain(record: Record) -> dict[str, Any]:
    """What a record says, with byte strings in hexadecimal and addresses as text."""
    fields = msgspec.to_builtins(record, builtin_types=(bytes,))
    for key in ("addrs", "circuits"):
        if key in fields:
            fields[key] = [addresses.to_text(value) for value in fields[key]]
    return {key: value.hex() if isinstance(value, bytes) else value for key, value in fields.items()}


def text() -> str:
    """The whole file."""
    return json.dumps(vectors(), indent=2) + "\n"


if __name__ == "__main__":
    PLACE.write_text(text())
