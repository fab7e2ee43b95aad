"""Advertisements and peer records: what is taken was signed by whom it names, once, and keeps within every bound.

The first byte of an input says of which kind the rest is, and whether a signature that fits is put before it: so
changes reach what is behind the signature's check.
"""

from __future__ import annotations

import json
from pathlib import Path

from towpath import addresses
from towpath.discovery import records
from towpath.discovery.records import LIFE_S, MAX_RECORD, SKEW_S, Advertisement, Record, RecordError
from towpath.signed import OVERHEAD, PEER_ID_PREFIX, signed

__all__ = ["NOW", "SEED", "check", "seeds"]

NOW = 1_900_000_000.0
SEED = bytes((7,)) * 32
_VECTORS = Path(__file__).parents[2] / "tests" / "vectors" / "records.json"
_KINDS = ("advertisement", "peer")


def seeds() -> list[bytes]:
    """The records of the test vectors, with their signatures and without."""
    out = []
    for vector in json.loads(_VECTORS.read_text())["records"]:
        raw = bytes.fromhex(vector["bytes"])
        kind = _KINDS.index(vector["kind"])
        out += [bytes((kind,)) + raw, bytes((kind | 2,)) + raw[OVERHEAD:]]
    return out


def check(data: bytes) -> None:
    """AssertionError when a record was taken that must not be; any other exception is a fault of the reader, too."""
    if not data:
        return
    kind, rest = _KINDS[data[0] & 1], data[1:]
    raw = signed(kind, rest, SEED) if data[0] & 2 else rest
    taken = _read(kind, raw)
    other = _read(_KINDS[1 - _KINDS.index(kind)], raw)
    _must(taken is None or other is None, "it is of two kinds")
    if taken is None:
        return
    _must(len(raw) <= MAX_RECORD, "it is too large")
    _must(taken.peer_id == PEER_ID_PREFIX + raw[:32], "it names somebody else than its signer")
    begin = taken.last_seen if isinstance(taken, Advertisement) else taken.issued
    _must(begin <= NOW + SKEW_S and NOW <= taken.not_after <= begin + LIFE_S, "it is not of now")
    if isinstance(taken, Advertisement):
        key = records.advertisement_key(taken.peer_id)
        _must(not any(b"/p2p" in addresses.to_text(a).encode() for a in taken.addrs), "it advertises a circuit")
        _must(taken.withdrawn or bool(taken.addrs), "it is nowhere")
    else:
        key = records.peer_key(taken.peer_id)
        _must(all(addresses.to_text(c).endswith("/p2p-circuit") for c in taken.circuits), "it holds an address")
        _must(taken.peer_id not in taken.relay_ids, "it is met through itself")
    _must(len(key) <= 80 and records.valid(key, raw, NOW), "its own key does not take it")
    _must(records.select(key, [rest[:5], raw]) == 1, "nothing counts before it")
    if data[0] & 2:
        _must(records.sign(taken, SEED) == raw, "it has a second encoding")


def _read(kind: str, raw: bytes) -> Record | None:
    read = records.read_advertisement if kind == "advertisement" else records.read_peer_record
    try:
        return read(raw, NOW)
    except RecordError:
        return None


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
