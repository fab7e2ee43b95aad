"""Advertisements and peer records: what their signer may say survives, and nothing else is taken."""

from __future__ import annotations

import random

import pytest
from fuzz.python.record import check, seeds
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.property.control_messages import values
from tests.property.discovery_records import NOW, advertisements, by_somebody, identities, peer_records
from towpath import cbor
from towpath.discovery import records
from towpath.discovery.records import (
    LIFE_S,
    MAX_RECORD,
    SKEW_S,
    Advertisement,
    PeerRecord,
    Record,
    RecordError,
    read_advertisement,
    read_peer_record,
    sign,
)
from towpath.discovery.shards import KEYS, SHARDS, reading_order, shard_key, shard_of
from towpath.identity import Identity

_FIELDS = sorted({*Advertisement.__struct_fields__, *PeerRecord.__struct_fields__})


def read(raw: bytes, record: Record, now: float = NOW) -> Record:
    return read_advertisement(raw, now) if isinstance(record, Advertisement) else read_peer_record(raw, now)


def key_of(record: Record) -> str:
    key = records.advertisement_key if isinstance(record, Advertisement) else records.peer_key
    return key(record.peer_id)


@given(by_somebody())
def test_a_record_survives_small_and_under_its_own_key_only(said: tuple[Identity, Record]) -> None:
    identity, record = said
    raw = sign(record, identity.seed)
    assert len(raw) <= MAX_RECORD
    assert read(raw, record) == record
    assert records.valid(key_of(record), raw, NOW)
    assert records.select(key_of(record), [raw, raw, b""]) == 1
    somebody = Identity(bytes((99,)) * 32).peer_id
    for key in (records.advertisement_key(somebody), records.peer_key(somebody), "/pk/x", "/towpath/peer/", "x"):
        assert not records.valid(key, raw, NOW)


@given(by_somebody(), st.integers(0, MAX_RECORD), st.integers(1, 255))
def test_one_changed_byte_makes_it_nobodys(said: tuple[Identity, Record], at: int, change: int) -> None:
    identity, record = said
    raw = bytearray(sign(record, identity.seed))
    raw[at % len(raw)] ^= change
    with pytest.raises(RecordError):
        read(bytes(raw), record)


@given(by_somebody())
def test_nobody_signs_for_somebody_else(said: tuple[Identity, Record]) -> None:
    _, record = said
    with pytest.raises(RecordError):
        sign(record, bytes((99,)) * 32)


@given(by_somebody(), st.integers(0, 2 * LIFE_S))
def test_it_counts_from_its_beginning_to_its_end(said: tuple[Identity, Record], later: int) -> None:
    identity, record = said
    raw = sign(record, identity.seed)
    begin = record.last_seen if isinstance(record, Advertisement) else record.issued
    at = begin - SKEW_S + later
    assert records.valid(key_of(record), raw, at) == (at <= record.not_after)
    assert not records.valid(key_of(record), raw, begin - SKEW_S - 1)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_record_or_refused(data: bytes) -> None:
    check(data)


@given(st.sampled_from(seeds()), st.integers(0, 1000), st.integers(0, 255))
def test_a_changed_record_is_a_record_or_refused(data: bytes, at: int, byte: int) -> None:
    changed = bytearray(data)
    changed[at % len(changed)] = byte
    check(bytes(changed))


@given(by_somebody(), st.sampled_from(_FIELDS), values, st.booleans())
def test_any_signed_map_is_a_record_or_refused(
    said: tuple[Identity, Record], key: str, value: cbor.Value, gone: bool
) -> None:
    _, record = said
    fields = cbor.decode(records._encode(record))
    assert isinstance(fields, dict)
    changed = {name: fields[name] for name in fields if not (gone and name == key)} | ({} if gone else {key: value})
    check(bytes((2 | isinstance(record, PeerRecord),)) + cbor.encode(changed))


@given(identities.flatmap(lambda one: st.tuples(st.just(one), st.lists(peer_records(one), min_size=1, max_size=4))))
def test_the_newest_is_selected_whatever_the_order(made: tuple[Identity, list[PeerRecord]]) -> None:
    identity, said = made
    raws = [sign(record, identity.seed) for record in said]
    newest = raws[records.select(records.peer_key(identity.peer_id), [b"", *raws]) - 1]
    backwards = raws[::-1]
    assert backwards[records.select(records.peer_key(identity.peer_id), backwards)] == newest
    best = read_peer_record(newest, NOW)
    assert best.seq == max(record.seq for record in said)
    assert not any(records.newer(record, best) for record in said)


@given(identities.flatmap(lambda one: st.tuples(st.just(one), advertisements(one), advertisements(one))))
def test_of_two_different_ones_exactly_one_is_newer(
    made: tuple[Identity, Advertisement, Advertisement],
) -> None:
    _, a, b = made
    assert records.newer(a, b) + records.newer(b, a) == (a != b)


def test_among_nothing_valid_nothing_is_selected() -> None:
    with pytest.raises(RecordError):
        records.select(records.peer_key(Identity(bytes(32)).peer_id), [b"", b"x" * 200])


@given(by_somebody(), by_somebody())
def test_somebody_elses_record_is_never_selected(said: tuple[Identity, Record], other: tuple[Identity, Record]) -> None:
    assume(said[0].peer_id != other[0].peer_id or type(said[1]) is not type(other[1]))
    raws = [sign(other[1], other[0].seed), sign(said[1], said[0].seed)]
    assert records.select(key_of(said[1]), raws) == 1


@given(st.binary(min_size=1, max_size=50), st.randoms(use_true_random=False))
def test_every_relay_is_in_one_shard_and_every_shard_is_read_once(relay_id: bytes, rng: random.Random) -> None:
    assert shard_key(shard_of(relay_id)) in KEYS
    assert sorted(reading_order(rng)) == list(range(SHARDS))
    assert len(KEYS) == SHARDS
