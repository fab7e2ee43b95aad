"""The messages of circuit relay v2 (libp2p specs, relay/circuit-v2.md): HOP, STOP, reservations and their vouchers."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from tests.peerlab.keys import peer_id_of, verify
from tests.peerlab.protobuf import Field, Fields, message, prefixed, varint

HOP = "/libp2p/circuit/relay/0.2.0/hop"
STOP = "/libp2p/circuit/relay/0.2.0/stop"
MESSAGE_MAX = 4096

_VOUCHER_DOMAIN = b"libp2p-relay-rsvp"
_VOUCHER_TYPE = b"\x03\x02"


class Status(IntEnum):
    OK = 100
    RESERVATION_REFUSED = 200
    RESOURCE_LIMIT_EXCEEDED = 201
    PERMISSION_DENIED = 202
    CONNECTION_FAILED = 203
    NO_RESERVATION = 204
    MALFORMED_MESSAGE = 400
    UNEXPECTED_MESSAGE = 401


class HopType(IntEnum):
    RESERVE, CONNECT, STATUS = range(3)


class StopType(IntEnum):
    CONNECT, STATUS = range(2)


class Refused(Exception):
    """The relay answered with a status other than OK."""

    def __init__(self, status: int | None) -> None:
        super().__init__(Status(status).name if status in set(Status) else str(status))
        self.status = status


@dataclass(frozen=True)
class Limit:
    """What a relay says it allows a circuit; None where it says nothing."""

    duration: int | None
    data: int | None


@dataclass(frozen=True)
class Answer:
    """A STATUS message of HOP or STOP, or a STOP CONNECT, decoded."""

    type: int | None
    status: int | None
    peer: bytes | None
    limit: Limit | None
    reservation: "Reservation | None"


@dataclass(frozen=True)
class Reservation:
    """What a relay granted."""

    expires: int
    addresses: Sequence[bytes]
    voucher: bytes | None
    limit: Limit | None = None

    def checked_voucher(self) -> "Voucher":
        """The voucher, its envelope verified; raises when there is none or it does not hold."""
        assert self.voucher, "the reservation has no voucher"
        return open_voucher(self.voucher)


@dataclass(frozen=True)
class Voucher:
    relay: bytes
    peer: bytes
    expires: int
    signer: bytes


def peer(peer_id: bytes, addresses: Sequence[bytes] = ()) -> bytes:
    """The Peer message inside HOP and STOP."""
    return message([(1, peer_id), *((2, address) for address in addresses)])


def reserve_message() -> bytes:
    """HOP RESERVE with its length."""
    return prefixed(message([(1, HopType.RESERVE)]))


def connect_message(target: bytes, addresses: Sequence[bytes] = ()) -> bytes:
    """HOP CONNECT with its length."""
    return prefixed(message([(1, HopType.CONNECT), (2, peer(target, addresses))]))


def stop_status(status: int) -> bytes:
    """STOP STATUS with its length."""
    return prefixed(message([(1, StopType.STATUS), (4, status)]))


def hop_answer(data: bytes) -> Answer:
    """Decodes what a relay says on a HOP stream (without its length)."""
    fields = Fields(data)
    reservation = None
    limit = _limit(fields.binary(4))
    if (inner := fields.binary(3)) is not None:
        sub = Fields(inner)
        reservation = Reservation(sub.integer(1) or 0, sub.all_binary(2), sub.binary(3), limit)
    return Answer(fields.integer(1), fields.integer(5), _peer_id(fields.binary(2)), limit, reservation)


def stop_request(data: bytes) -> Answer:
    """Decodes what a relay says on a STOP stream (without its length)."""
    fields = Fields(data)
    return Answer(fields.integer(1), fields.integer(4), _peer_id(fields.binary(2)), _limit(fields.binary(3)), None)


def _peer_id(data: bytes | None) -> bytes | None:
    return None if data is None else Fields(data).binary(1)


def _limit(data: bytes | None) -> Limit | None:
    if data is None:
        return None
    fields = Fields(data)
    return Limit(fields.integer(1), fields.integer(2))


def open_voucher(envelope: bytes) -> Voucher:
    """Verifies a signed envelope (RFC 0002) and decodes the voucher in it."""
    fields = Fields(envelope)
    key, kind = fields.binary(1) or b"", fields.binary(2)
    inner, signature = fields.binary(3) or b"", fields.binary(5) or b""
    assert kind == _VOUCHER_TYPE, f"an envelope of type {kind!r}"
    signed = b"".join(varint(len(part)) + part for part in (_VOUCHER_DOMAIN, _VOUCHER_TYPE, inner))
    verify(key, signed, signature)
    voucher = Fields(inner)
    return Voucher(voucher.binary(1) or b"", voucher.binary(2) or b"", voucher.integer(3) or 0, peer_id_of(key))


def hop_message(*fields: Field) -> bytes:
    """Any HOP (or STOP) message, good or bad, with its length."""
    return prefixed(message(fields))
