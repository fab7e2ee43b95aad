"""Answers of routers to NAT-PMP and PCP: what is taken answers the question, within the bounds of its form."""

from __future__ import annotations

import struct
from collections.abc import Callable

from towpath.host.port_mapping.messages import BadAnswer, Granted, read_natpmp_address, read_natpmp_map, read_pcp_map

__all__ = ["check", "seeds"]

_NONCE = b"n" * 12
_PORT = 4001
_V4 = bytes(10) + b"\xff\xff"


def seeds() -> list[bytes]:
    """A good answer of each kind, and refusals."""
    pcp = struct.pack("!BBBBII12x", 2, 0x81, 0, 0, 1200, 7) + _NONCE + struct.pack("!B3xHH", 6, _PORT, _PORT)
    return [
        struct.pack("!BBHI4B", 0, 128, 0, 7, 1, 2, 3, 4),
        struct.pack("!BBHIHHI", 0, 130, 0, 7, _PORT, _PORT, 1200),
        struct.pack("!BBHIHHI", 0, 130, 2, 7, _PORT, 0, 0),
        pcp + _V4 + bytes((1, 2, 3, 4)),
        struct.pack("!BBBBII12x", 2, 0x81, 0, 1, 0, 7),
    ]


def check(data: bytes) -> None:
    """AssertionError when a reader took what it must not; any other exception is a fault of the reader, too."""
    if _taken(lambda: read_natpmp_address(data)) is not None:
        _must(data[:4] == b"\0\x80\0\0" and len(data) >= 12)
    natpmp = _taken(lambda: read_natpmp_map(data, _PORT))
    if natpmp is not None:
        _must(data[:4] == b"\0\x82\0\0" and data[8:10] == _PORT.to_bytes(2) and len(data) >= 16)
        _must(isinstance(natpmp, Granted) and natpmp.external_port <= 0xFFFF)
    pcp = _taken(lambda: read_pcp_map(data, _NONCE, _PORT))
    if pcp is not None:
        _must(data[:2] == b"\x02\x81" and data[3] == 0 and data[24:36] == _NONCE and 60 <= len(data) <= 1100)
        _must(isinstance(pcp, Granted) and pcp.external_ip is not None)


def _taken(read: Callable[[], object]) -> object:
    try:
        return read()
    except BadAnswer:
        return None


def _must(holds: bool) -> None:
    if not holds:
        raise AssertionError("it is no such answer")
