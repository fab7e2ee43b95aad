"""yamux frames (github.com/hashicorp/yamux, spec.md): the header and nothing else."""

import struct
from dataclasses import dataclass

DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
HEADER = 12
WINDOW = 256 * 1024

_FORMAT = struct.Struct(">BBHII")


@dataclass(frozen=True)
class Header:
    version: int
    type: int
    flags: int
    stream: int
    length: int

    @classmethod
    def parse(cls, data: bytes) -> "Header":
        return cls(*_FORMAT.unpack(data))


def frame(kind: int, flags: int = 0, stream: int = 0, length: int = 0, *, version: int = 0) -> bytes:
    """A header on its own."""
    return _FORMAT.pack(version, kind, flags, stream, length)


def data(stream: int, body: bytes = b"", flags: int = 0) -> bytes:
    """A DATA frame."""
    return frame(DATA, flags, stream, len(body)) + body


def window_update(stream: int, delta: int = 0, flags: int = 0) -> bytes:
    return frame(WINDOW_UPDATE, flags, stream, delta)


def ping(value: int, flags: int = SYN) -> bytes:
    return frame(PING, flags, 0, value)
