"""The two records of discovery: a relay's advertisement, and where a peer is to be met. Pure; the clock is passed in.

A record is at most 1 KiB of signed bytes (`towpath.signed`) around a map in canonical CBOR: see docs/protocol.md.
A reader checks the size, the signature over the raw bytes, the one encoding, every bound, and the time, in this order.
Also the validators of the DHT's two namespaces, `/relays/available/ID` and `/towpath/peer/ID`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from towpath import addresses, cbor
from towpath.errors import AddressError, TowpathError
from towpath.signed import SignatureError, opened, signed

__all__ = [
    "LIFE_S",
    "MAX_ADDRESSES",
    "MAX_CIRCUITS",
    "MAX_RECORD",
    "NO_CAPACITY",
    "SKEW_S",
    "Advertisement",
    "Capacity",
    "PeerRecord",
    "Record",
    "RecordError",
    "advertisement_key",
    "check",
    "is_current",
    "may_be_advertised",
    "may_be_met_at",
    "newer",
    "peer_key",
    "read_advertisement",
    "read_peer_record",
    "select",
    "sign",
    "valid",
]

MAX_RECORD: Final = 1024
"""Bytes of a record, key and signature included."""
LIFE_S: Final = 7200
"""Seconds that a record is valid, at most."""
SKEW_S: Final = 300
"""Seconds that somebody else's clock may be ahead of ours."""
MAX_ADDRESSES: Final = 8
MAX_CIRCUITS: Final = 8
_RELAYS: Final = "/relays/available/"
_PEERS: Final = "/towpath/peer/"

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Time = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
_Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
_PeerId = Annotated[bytes, msgspec.Meta(min_length=38, max_length=38)]
_SHORTEST: Final = 8
_LONGEST: Final = 160
_Address = Annotated[bytes, msgspec.Meta(min_length=_SHORTEST, max_length=_LONGEST)]


class RecordError(TowpathError):
    """A record is too large, not signed, malformed, out of bounds, expired, or somebody else's."""


class Capacity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a relay takes, at most. None: no limit. All 0: it takes nothing any more."""

    reservations: _Count | None = None
    circuits: _Count | None = None
    circuit_data: _Count | None = None
    """Bytes that one circuit may carry."""
    rate: _Count | None = None
    """Bytes per second for everybody together."""


NO_CAPACITY: Final = Capacity(0, 0, 0, 0)


class Advertisement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a relay says of itself. Times are in Unix seconds."""

    v: Literal[1]
    peer_id: _PeerId
    """The relay's id, whose key signs."""
    addrs: Annotated[tuple[_Address, ...], msgspec.Meta(max_length=MAX_ADDRESSES)]
    """Binary multiaddrs, `/ip4/…/tcp/…` and the like, without /p2p; none only of a relay that withdraws."""
    mode: Literal["cooperative", "dedicated"]
    capacity: Capacity
    load: Annotated[int, msgspec.Meta(ge=0, le=7)]
    """Eighths of the scarcest of its capacities that are in use."""
    price: Literal[0]
    reputation: _Percent | None = None
    """By its own account: shown to people, never used for ranking; so is `uptime_estimate`."""
    uptime_estimate: _Percent | None = None
    last_seen: _Time
    """When it said this."""
    seq: _Count
    """Of two by one relay the higher counts."""
    not_after: _Time
    account: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)] | None = None
    """The public key of its account, if it has one."""
    family: Annotated[str, msgspec.Meta(min_length=1, max_length=32)] | None = None
    """What its owner calls the relays that are his: at most one of them is used at a time."""

    @property
    def withdrawn(self) -> bool:
        """Does it say that it relays no more?"""
        return self.capacity == NO_CAPACITY


class PeerRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a peer is to be met. Times are in Unix seconds."""

    v: Literal[1]
    peer_id: _PeerId
    circuits: Annotated[tuple[_Address, ...], msgspec.Meta(max_length=MAX_CIRCUITS)]
    """Binary multiaddrs that end in `/p2p/RELAY/p2p-circuit`, best first; none: nowhere."""
    seq: _Count
    issued: _Time
    not_after: _Time

    @property
    def relay_ids(self) -> tuple[bytes, ...]:
        """The relays that it is to be met at."""
        found = (addresses.parse(addresses.to_text(circuit)).peer_id for circuit in self.circuits)
        return tuple(relay for relay in found if relay is not None)


Record = Advertisement | PeerRecord
_R = TypeVar("_R", bound=Record)


def advertisement_key(relay_id: bytes) -> str:
    """The DHT key of a relay's advertisement."""
    return _RELAYS + addresses.peer_id_to_text(relay_id)


def peer_key(peer_id: bytes) -> str:
    """The DHT key of a peer's record."""
    return _PEERS + addresses.peer_id_to_text(peer_id)


def sign(record: Record, seed: bytes) -> bytes:
    """The record as it goes out, signed with the key of `seed`; RecordError unless a reader would take it."""
    raw = signed(_name(type(record)), _encode(record), seed)
    if _decode(raw, type(record)) != record:
        raise RecordError("this record would be read as another one")
    return raw


def read_advertisement(raw: bytes, now: float | None) -> Advertisement:
    """The advertisement in `raw`, valid at `now` (Unix time; None: at any time); RecordError otherwise."""
    record = _decode(raw, Advertisement)
    _check_time(record.last_seen, record.not_after, now)
    return record


def read_peer_record(raw: bytes, now: float | None) -> PeerRecord:
    """The peer record in `raw`, valid at `now` (Unix time; None: at any time); RecordError otherwise."""
    record = _decode(raw, PeerRecord)
    _check_time(record.issued, record.not_after, now)
    return record


def is_current(record: Record, now: float) -> bool:
    """Does what was signed count at `now` (Unix time)?"""
    begin = record.last_seen if isinstance(record, Advertisement) else record.issued
    try:
        _check_time(begin, record.not_after, now)
    except RecordError:
        return False
    return True


@functools.lru_cache(maxsize=4096)
def may_be_advertised(addr: bytes) -> bool:
    """May this binary multiaddr stand in an advertisement?"""
    try:
        _check_address(addr)
    except (RecordError, AddressError):
        return False
    return True


def may_be_met_at(circuit: bytes, peer_id: bytes) -> bool:
    """May this binary multiaddr stand in the record of this peer?"""
    try:
        _check_circuit(circuit, peer_id)
    except (RecordError, AddressError):
        return False
    return True


def newer(a: _R, b: _R) -> bool:
    """Does `a` take the place of `b`, a record by the same signer? Nothing takes the place of itself."""
    return _rank(a) > _rank(b)


def check(key: str, value: bytes, now: float) -> None:
    """RecordError unless `value` may stand under this key of the DHT at `now` (Unix time)."""
    kind, peer_id = _parse_key(key)
    record = read_advertisement(value, now) if kind is Advertisement else read_peer_record(value, now)
    if record.peer_id != peer_id:
        raise RecordError("the record under this key is somebody else's")


def valid(key: str, value: bytes, now: float) -> bool:
    """May `value` stand under this key of the DHT at `now` (Unix time)?"""
    try:
        check(key, value, now)
    except RecordError:
        return False
    return True


def select(key: str, values: Sequence[bytes]) -> int:
    """Which of the values under a key counts: its index. Invalid ones never do; RecordError when there is no other.

    The last of equals: a server that has a record already takes it from others who publish it, too.
    """
    kind, peer_id = _parse_key(key)
    best: tuple[tuple[int, int, bytes], int] | None = None
    for index, value in enumerate(values):
        try:
            record = _decode(value, kind)
        except RecordError:
            continue
        if record.peer_id == peer_id and (best is None or _rank(record) >= best[0]):
            best = (_rank(record), index)
    if best is None:
        raise RecordError("none of the values under this key is a record of it")
    return best[1]


def _parse_key(key: str) -> tuple[type[Advertisement] | type[PeerRecord], bytes]:
    for prefix, kind in ((_RELAYS, Advertisement), (_PEERS, PeerRecord)):
        text = key.removeprefix(prefix)
        if text == key:
            continue
        try:
            peer_id = addresses.peer_id_to_bytes(text)
            if addresses.peer_id_to_text(peer_id) == text:
                return kind, peer_id
        except AddressError as error:
            raise RecordError(f"the key names no peer: {error}") from error
    raise RecordError("this key is of no record that towpath knows")


def _rank(record: Record) -> tuple[int, int, bytes]:
    # The same for everybody, also when one signer gave a number twice.
    return record.seq, record.not_after, _encode(record)


def _name(kind: type[object]) -> str:
    return "advertisement" if kind is Advertisement else "peer"


def _encode(record: Record) -> bytes:
    return cbor.encode(msgspec.to_builtins(record, builtin_types=(bytes,)))


def _decode(raw: bytes, kind: type[_R]) -> _R:
    try:
        signer, body = opened(_name(kind), raw, MAX_RECORD)
        record = msgspec.convert(cbor.decode(body), kind, builtin_types=(bytes,))
        if _encode(record) != body:
            raise RecordError("a record in another encoding than its own")
        if record.peer_id != signer:
            raise RecordError("a record that somebody else signed")
        if isinstance(record, Advertisement):
            _check_advertisement(record)
        else:
            _check_circuits(record)
    except (SignatureError, AddressError, ValueError) as error:
        raise RecordError(f"not a record: {error}") from error
    return record


def _check_advertisement(record: Advertisement) -> None:
    _check_life(record.last_seen, record.not_after)
    if len(set(record.addrs)) != len(record.addrs):
        raise RecordError("an address twice")
    for addr in record.addrs:
        _check_address(addr)
    if record.family is not None and not record.family.isprintable():
        raise RecordError("a family that cannot be shown")
    capacity = record.capacity
    # Either it takes nothing, or something of everything.
    numbers = (capacity.reservations, capacity.circuits, capacity.circuit_data, capacity.rate)
    if not record.withdrawn and (0 in numbers or not record.addrs):
        raise RecordError("a relay that takes nothing, or is nowhere, and does not withdraw")


def _check_circuits(record: PeerRecord) -> None:
    _check_life(record.issued, record.not_after)
    if len(set(record.circuits)) != len(record.circuits):
        raise RecordError("a circuit twice")
    for circuit in record.circuits:
        _check_circuit(circuit, record.peer_id)


def _check_address(addr: bytes) -> None:
    address = _parse(addr)
    if address.peer_id is not None or address.circuit:
        raise RecordError("an advertised address is an IP address or name, and a TCP port, and nothing more")


def _check_circuit(circuit: bytes, peer_id: bytes) -> None:
    address = _parse(circuit)
    if address.peer_id is None or not address.circuit or address.target_id is not None:
        raise RecordError("a peer is to be met at circuits only, each with the relay's id and no target")
    if address.peer_id == peer_id:
        raise RecordError("nobody is met through itself")


def _parse(raw: bytes) -> addresses.Address:
    if not _SHORTEST <= len(raw) <= _LONGEST:
        raise AddressError(f"an address of {len(raw)} bytes; {_SHORTEST} to {_LONGEST} are allowed")
    text = addresses.to_text(raw)
    if addresses.to_bytes(text) != raw:
        raise AddressError("an address in another encoding than its own")
    address = addresses.parse(text)
    if address.port == 0:
        raise AddressError("nobody is at port 0")
    return address


def _check_life(begin: int, not_after: int) -> None:
    if not begin <= not_after <= begin + LIFE_S:
        raise RecordError(f"a record lives for {LIFE_S} s at most")


def _check_time(begin: int, not_after: int, now: float | None) -> None:
    if now is None:
        return
    if now > not_after:
        raise RecordError("the record has expired")
    if begin > now + SKEW_S:
        raise RecordError("the record is from the future: its signer's clock, or ours, is wrong")
