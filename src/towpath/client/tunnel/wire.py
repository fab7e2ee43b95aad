"""What goes over a `/towpath/tunnel/1` stream. Pure, fed with bytes; docs/protocol.md defines it.

    opener → sharer   16 bytes of secret, then a message: Carry (a connection, new or to go on with) or Follow
    sharer → opener   a message: Answer
    of Carry, then    both ways frames: u8 kind, u24 length, payload
    of Follow, then   sharer → opener messages: Relays

A message is preceded by its length in 2 bytes. The sharer reads nothing behind the secret before that was right.
Offsets count the bytes of one direction of a connection from its beginning; the end of it counts as one byte more.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from towpath import addresses, cbor
from towpath.errors import AddressError, TowpathError

__all__ = [
    "ABORT",
    "ACK_SIZE",
    "END",
    "HEADER_SIZE",
    "MAX_FRAME",
    "MAX_MESSAGE",
    "MAX_RELAYS",
    "PROBE",
    "PROTOCOL",
    "SESSION_SIZE",
    "Answer",
    "Carry",
    "Code",
    "Follow",
    "Frame",
    "FrameReader",
    "Kind",
    "Relays",
    "TunnelProtocolError",
    "ack",
    "data_header",
    "decode_opening",
    "frame_message",
    "read_message",
]

PROTOCOL: Final = "/towpath/tunnel/1"
HEADER_SIZE: Final = 4
ACK_SIZE: Final = 12
MAX_FRAME: Final = 1 << 20
MAX_MESSAGE: Final = 2048
SESSION_SIZE: Final = 16
MAX_WHY: Final = 300
MAX_RELAYS: Final = 8
_MAX_ADDRESS: Final = 200
_MAX_TURN: Final = 1 << 32
_MAX_OFFSET: Final = 1 << 63
_VERSION: Final = 1
_CARRY: Final = 1
_FOLLOW: Final = 2


class TunnelProtocolError(TowpathError):
    """The other side does not keep to the tunnel's protocol."""


class Code(enum.IntEnum):
    """How a sharer answers."""

    ACCEPTED = 0
    DENIED = 1
    EXPIRED = 2
    UNREACHABLE = 3
    USED = 4
    BUSY = 5
    GONE = 6
    STALE = 7


class Kind(enum.IntEnum):
    """What a frame is."""

    DATA = 0
    END = 1
    ACK = 2
    ABORT = 3
    PROBE = 4


END: Final = bytes((Kind.END, 0, 0, 0))
"""This side sends nothing more; the other direction goes on."""
ABORT: Final = bytes((Kind.ABORT, 0, 0, 0))
"""The connection was reset here."""
PROBE: Final = bytes((Kind.PROBE, 0, 0, 0))
"""To be answered with an ACK at once."""


class _ReadsExactly(Protocol):
    async def readexactly(self, n: int) -> bytes: ...


class Carry(NamedTuple):
    """Asks for a connection: a new one, or to go on with one."""

    session: bytes
    turn: int = 0
    """Counts the attempts of one session: only a higher one than before takes it over."""
    received: int = 0
    """The offset from which the opener lacks bytes."""
    begun: bool = False
    """Was this session answered before? Then it is not to begin anew."""

    def encode(self) -> bytes:
        """As it goes over the stream behind the secret, length included."""
        fields: dict[str, cbor.Value] = {"v": _VERSION, "t": _CARRY, "session": self.session, "turn": self.turn}
        return frame_message(cbor.encode(fields | {"received": self.received, "begun": self.begun}))


class Follow(NamedTuple):
    """Asks to be told through which relays the sharer can be met, as long as the stream lasts."""

    def encode(self) -> bytes:
        """As it goes over the stream behind the secret, length included."""
        return frame_message(cbor.encode({"v": _VERSION, "t": _FOLLOW}))


def decode_opening(message: bytes) -> Carry | Follow:
    """From a message without its length; TunnelProtocolError when it is none."""
    fields = _fields(message)
    kind = fields.get("t")
    if kind == _FOLLOW and kind is not True:
        _only(fields, {"v", "t"})
        return Follow()
    if kind != _CARRY or kind is True:
        raise TunnelProtocolError(
            "the other side asks for what this towpath does not know; update the older of the two"
        )
    _only(fields, {"v", "t", "session", "turn", "received", "begun"})
    session, begun = fields["session"], fields["begun"]
    if not isinstance(session, bytes) or len(session) != SESSION_SIZE or not isinstance(begun, bool):
        raise TunnelProtocolError("a field of a tunnel's opening has a wrong type or length")
    turn = _number(fields["turn"], _MAX_TURN)
    return Carry(session, turn, _number(fields["received"], _MAX_OFFSET), begun)


class Answer(NamedTuple):
    """What a sharer answers. `code` may be one that this version does not know."""

    code: int
    why: str = ""
    received: int = 0
    """The offset from which the sharer lacks bytes."""

    def encode(self) -> bytes:
        """As it goes over the stream, length included."""
        fields: dict[str, cbor.Value] = {"v": _VERSION, "code": int(self.code), "why": self.why[:MAX_WHY]}
        return frame_message(cbor.encode(fields | {"received": self.received}))

    @classmethod
    def decode(cls, message: bytes) -> Answer:
        """From a message without its length; TunnelProtocolError when it is none."""
        fields = _fields(message)
        _only(fields, {"v", "code", "why", "received"})
        why = fields["why"]
        if not isinstance(why, str) or len(why) > MAX_WHY:
            raise TunnelProtocolError("the answer to the opening of a tunnel has a wrong reason")
        printable = "".join(c for c in why if c.isprintable())
        return cls(_number(fields["code"], 1 << 16), printable, _number(fields["received"], _MAX_OFFSET))


class Relays(NamedTuple):
    """Where the sharer can be met now: multiaddrs that end in /p2p/RELAY_ID, best first."""

    relays: tuple[str, ...]

    @classmethod
    def of(cls, relays: Sequence[str]) -> Relays:
        """Of a list that may be longer than a message holds, or hold what is too long."""
        return cls(tuple(relay for relay in relays if len(addresses.to_bytes(relay)) <= _MAX_ADDRESS)[:MAX_RELAYS])

    def encode(self) -> bytes:
        """As it goes over the stream, length included."""
        relays: list[cbor.Value] = [addresses.to_bytes(relay) for relay in self.relays]
        return frame_message(cbor.encode({"v": _VERSION, "relays": relays}))

    @classmethod
    def decode(cls, message: bytes) -> Relays:
        """From a message without its length; TunnelProtocolError when it is none."""
        fields = _fields(message)
        _only(fields, {"v", "relays"})
        relays = fields["relays"]
        if not isinstance(relays, list) or len(relays) > MAX_RELAYS:
            raise TunnelProtocolError("a list of relays in a tunnel is none, or too long")
        found = []
        for relay in relays:
            if not isinstance(relay, bytes) or len(relay) > _MAX_ADDRESS:
                raise TunnelProtocolError("a relay in a tunnel's list is no address")
            try:
                address = addresses.parse(addresses.to_text(relay))
            except AddressError as e:
                raise TunnelProtocolError(f"a relay in a tunnel's list is no address: {e}") from e
            if address.peer_id is None or address.circuit:
                raise TunnelProtocolError("a relay in a tunnel's list has no peer id")
            found.append(str(address))
        return cls(tuple(found))


def frame_message(message: bytes) -> bytes:
    """A message with its length before it."""
    if len(message) > MAX_MESSAGE:
        raise ValueError(f"a message of {len(message)} bytes; at most {MAX_MESSAGE}")
    return len(message).to_bytes(2, "big") + message


async def read_message(stream: _ReadsExactly) -> bytes:
    """The next message of a stream, whose length is checked before its bytes are awaited.

    Raises asyncio.IncompleteReadError at the end of the stream and StreamReset as the stream does.
    """
    size = int.from_bytes(await stream.readexactly(2), "big")
    if not 1 <= size <= MAX_MESSAGE:
        raise TunnelProtocolError(f"a message of {size} bytes in a tunnel; 1 to {MAX_MESSAGE} are allowed")
    return await stream.readexactly(size)


def data_header(size: int) -> bytes:
    """What stands before `size` bytes of data, 1 to MAX_FRAME."""
    return (Kind.DATA << 24 | size).to_bytes(HEADER_SIZE, "big")


def ack(offset: int) -> bytes:
    """The frame that says: everything before this offset was passed on."""
    return (Kind.ACK << 88 | 8 << 64 | offset).to_bytes(ACK_SIZE, "big")


Frame = tuple[Kind, memoryview | int]
"""A kind with its data, which may be a part of a frame's, or with its offset (ACK); 0 for the others."""
_LENGTHS: Final = {Kind.END: 0, Kind.ACK: 8, Kind.ABORT: 0, Kind.PROBE: 0}


class FrameReader:
    """Takes the bytes of a stream in any pieces and gives what is in them, of data without awaiting a frame's end."""

    __slots__ = ("_begun", "_left", "_want")

    def __init__(self) -> None:
        self._begun = b""
        """A header, and the offset of an ACK, so far."""
        self._want = HEADER_SIZE
        self._left = 0
        """Of a DATA frame."""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames in `data`, from which their data is borrowed. TunnelProtocolError when it breaks the rules."""
        out: list[Frame] = []
        view = memoryview(data)
        at, size = 0, len(data)
        while at < size:
            if self._left:
                piece = view[at : at + self._left]
                out.append((Kind.DATA, piece))
                at += len(piece)
                self._left -= len(piece)
                continue
            missing = self._want - len(self._begun)
            self._begun += bytes(view[at : at + missing])
            at = min(at + missing, size)
            if len(self._begun) == self._want:
                self._ready(out)
        return out

    def _ready(self, out: list[Frame]) -> None:
        begun = self._begun
        number, length = begun[0], int.from_bytes(begun[1:HEADER_SIZE], "big")
        if number == Kind.DATA and length <= MAX_FRAME:
            self._left = length
        elif number != Kind.DATA and number in _LENGTHS and length == _LENGTHS[Kind(number)]:
            if len(begun) < HEADER_SIZE + length:
                self._want = HEADER_SIZE + length
                return
            offset = int.from_bytes(begun[HEADER_SIZE:], "big")
            if offset >= _MAX_OFFSET:
                raise TunnelProtocolError("an offset in a tunnel is out of its bounds")
            out.append((Kind(number), offset))
        else:
            raise TunnelProtocolError(f"a frame of kind {number} and {length} bytes in a tunnel")
        self._begun = b""
        self._want = HEADER_SIZE


def _fields(message: bytes) -> dict[str, cbor.Value]:
    try:
        fields = cbor.decode(message)
    except ValueError as e:
        raise TunnelProtocolError(f"a message in a tunnel is {e}") from e
    if not isinstance(fields, dict) or "v" not in fields:
        raise TunnelProtocolError("a message in a tunnel has missing or unknown fields")
    if isinstance(fields["v"], bool) or fields["v"] != _VERSION:
        speaks = f"the other side speaks version {fields['v']!r} of the tunnel"
        raise TunnelProtocolError(f"{speaks}; update the older one of the two")
    return fields


def _only(fields: dict[str, cbor.Value], names: set[str]) -> None:
    if set(fields) != names:
        raise TunnelProtocolError("a message in a tunnel has missing or unknown fields")


def _number(value: cbor.Value, below: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < below:
        raise TunnelProtocolError("a number in a tunnel's message is none, or out of its bounds")
    return value
