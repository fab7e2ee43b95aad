"""Varints and protobuf, as little of them as libp2p's messages need: tests must be able to write them wrong, too."""

from collections.abc import Iterable
from typing import TypeAlias

Field: TypeAlias = tuple[int, int | bytes]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def varint(value: int) -> bytes:
    """Unsigned LEB128, shortest form."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes | bytearray, at: int = 0) -> tuple[int, int]:
    """The value that starts at `at` and the offset behind it; IndexError when it is cut short."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def prefixed(data: bytes) -> bytes:
    """The data behind its length, as libp2p puts messages on streams."""
    return varint(len(data)) + data


def message(fields: Iterable[Field]) -> bytes:
    """Encodes fields in the order given; ints become varints, bytes become length-delimited."""
    out = bytearray()
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3 | VARINT) + varint(value)
        else:
            out += varint(number << 3 | BYTES) + prefixed(value)
    return bytes(out)


class Fields:
    """A decoded message: its fields by number, in the order they came."""

    def __init__(self, data: bytes) -> None:
        self._values: dict[int, list[int | bytes]] = {}
        at = 0
        while at < len(data):
            tag, at = read_varint(data, at)
            number, kind = tag >> 3, tag & 7
            value: int | bytes
            if kind == VARINT:
                value, at = read_varint(data, at)
            elif kind in (BYTES, FIXED64, FIXED32):
                length = {FIXED64: 8, FIXED32: 4}.get(kind, -1)
                if length < 0:
                    length, at = read_varint(data, at)
                value, at = data[at : at + length], at + length
                if at > len(data):
                    raise ValueError(f"field {number} reaches beyond the message")
            else:
                raise ValueError(f"field {number} has wire type {kind}")
            self._values.setdefault(number, []).append(value)

    def __contains__(self, number: int) -> bool:
        return number in self._values

    def integer(self, number: int) -> int | None:
        """The last value of the field, None when it is absent."""
        value = self._values.get(number, [None])[-1]
        if isinstance(value, bytes):
            raise TypeError(f"field {number} holds bytes")
        return value

    def binary(self, number: int) -> bytes | None:
        """The last value of the field, None when it is absent."""
        value = self._values.get(number, [None])[-1]
        if isinstance(value, int):
            raise TypeError(f"field {number} holds an integer")
        return value

    def all_binary(self, number: int) -> list[bytes]:
        """Every value of a repeated field."""
        return [value for value in self._values.get(number, []) if isinstance(value, bytes)]
