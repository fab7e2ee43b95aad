"""What goes over a `/towpath/tunnel/1` stream: an opening, its answer, then frames. Pure, fed with bytes.

    opener → sharer   u16 length, canonical CBOR {v: 1, session: 16 bytes, secret: 16 bytes}
    sharer → opener   u16 length, canonical CBOR {v: 1, code: 0 or why not, why: text}
    both ways, then   u8 kind, u24 length, payload      DATA: bytes of the connection; END: no more will
    follow

The opener sends frames without waiting for the answer; the sharer reads none of them before the secret was
right. A stream that ends without END was cut off. `session` names the tunneled connection, and other
versions and kinds are free, so that a later version can go on with it over another relay.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple, Protocol

from towpath import cbor
from towpath.client.ticket import SECRET_SIZE
from towpath.errors import TowpathError

__all__ = [
    "END",
    "HEADER_SIZE",
    "MAX_FRAME",
    "MAX_MESSAGE",
    "PROTOCOL",
    "Answer",
    "Code",
    "FrameReader",
    "Opening",
    "TunnelProtocolError",
    "data_header",
    "frame_message",
    "read_message",
]

PROTOCOL: Final = "/towpath/tunnel/1"
HEADER_SIZE: Final = 4
MAX_FRAME: Final = 1 << 20
MAX_MESSAGE: Final = 1024
SESSION_SIZE: Final = 16
MAX_WHY: Final = 300
_VERSION: Final = 1
_DATA: Final = 0
_END: Final = 1
END: Final = bytes((_END, 0, 0, 0))
"""The frame that says: this side sends nothing more."""


class TunnelProtocolError(TowpathError):
    """The other side does not keep to the tunnel's protocol."""


class Code(enum.IntEnum):
    """How a sharer answers an opening."""

    ACCEPTED = 0
    DENIED = 1
    EXPIRED = 2
    UNREACHABLE = 3
    USED = 4
    BUSY = 5


class _ReadsExactly(Protocol):
    async def readexactly(self, n: int) -> bytes: ...


class Opening(NamedTuple):
    """What an opener says first."""

    session: bytes
    secret: bytes

    def encode(self) -> bytes:
        """As it goes over the stream, length included."""
        return frame_message(cbor.encode({"v": _VERSION, "session": self.session, "secret": self.secret}))

    @classmethod
    def decode(cls, message: bytes) -> Opening:
        """From a message without its length; TunnelProtocolError when it is none."""
        fields = _fields(message, {"v", "session", "secret"})
        session, secret = fields["session"], fields["secret"]
        if not isinstance(session, bytes) or not isinstance(secret, bytes):
            raise TunnelProtocolError("the opening of a tunnel has fields of a wrong type")
        if len(session) != SESSION_SIZE or len(secret) != SECRET_SIZE:
            raise TunnelProtocolError("the opening of a tunnel has fields of a wrong length")
        return cls(session, secret)


class Answer(NamedTuple):
    """What a sharer answers. `code` may be one that this version does not know."""

    code: int
    why: str = ""

    def encode(self) -> bytes:
        """As it goes over the stream, length included."""
        return frame_message(cbor.encode({"v": _VERSION, "code": int(self.code), "why": self.why[:MAX_WHY]}))

    @classmethod
    def decode(cls, message: bytes) -> Answer:
        """From a message without its length; TunnelProtocolError when it is none."""
        fields = _fields(message, {"v", "code", "why"})
        code, why = fields["code"], fields["why"]
        if isinstance(code, bool) or not isinstance(code, int) or not 0 <= code <= 0xFFFF:
            raise TunnelProtocolError("the answer to the opening of a tunnel has a wrong code")
        if not isinstance(why, str) or len(why) > MAX_WHY:
            raise TunnelProtocolError("the answer to the opening of a tunnel has a wrong reason")
        return cls(code, "".join(c for c in why if c.isprintable()))


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
    return (_DATA << 24 | size).to_bytes(HEADER_SIZE, "big")


class FrameReader:
    """Takes the bytes of a stream in any pieces and gives the data in them, without waiting for the end of a frame."""

    __slots__ = ("_header", "_left", "ended")

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        self.ended = False
        """Has END come?"""

    def feed(self, data: bytes) -> list[memoryview]:
        """The pieces of connection data in `data`, which they borrow. TunnelProtocolError when it breaks the rules."""
        out: list[memoryview] = []
        view = memoryview(data)
        at, size = 0, len(data)
        while at < size:
            if self.ended:
                raise TunnelProtocolError("bytes after the end of a tunneled connection")
            if self._left:
                piece = view[at : at + self._left]
                out.append(piece)
                at += len(piece)
                self._left -= len(piece)
                continue
            missing = HEADER_SIZE - len(self._header)
            self._header += bytes(view[at : at + missing])
            at = min(at + missing, size)
            if len(self._header) == HEADER_SIZE:
                self._begin(self._header[0], int.from_bytes(self._header[1:], "big"))
                self._header = b""
        return out

    def _begin(self, kind: int, length: int) -> None:
        if kind == _DATA and length <= MAX_FRAME:
            self._left = length
        elif kind == _END and length == 0:
            self.ended = True
        else:
            raise TunnelProtocolError(f"a frame of kind {kind} and {length} bytes in a tunnel")


def _fields(message: bytes, names: set[str]) -> dict[str, cbor.Value]:
    try:
        fields = cbor.decode(message)
    except ValueError as e:
        raise TunnelProtocolError(f"a message in a tunnel is {e}") from e
    if not isinstance(fields, dict) or set(fields) != names:
        raise TunnelProtocolError("a message in a tunnel has missing or unknown fields")
    if isinstance(fields["v"], bool) or fields["v"] != _VERSION:
        speaks = f"the other side speaks version {fields['v']!r} of the tunnel"
        raise TunnelProtocolError(f"{speaks}; update the older one of the two")
    return fields
