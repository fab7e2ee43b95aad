"""Messages between a node and a process of its own: msgpack, one a packet of a Unix SEQPACKET socket. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["MAX_PACKET", "encode"]

MAX_PACKET: Final = 65536
"""Bytes of a packet."""
_encoder = msgspec.msgpack.Encoder()


def encode(message: msgspec.Struct) -> bytes:
    """ValueError when it is too long for a packet."""
    data = _encoder.encode(message)
    if len(data) > MAX_PACKET:
        raise ValueError(f"a message of {len(data)} bytes, more than a packet takes")
    return data
