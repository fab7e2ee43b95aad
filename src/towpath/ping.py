"""`/ipfs/ping/1.0.0` from the asking side (libp2p specs, ping); answers are native (native/ping.pyx)."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Final

from towpath.errors import HandshakeError

if TYPE_CHECKING:
    from towpath.stream import Stream

__all__ = ["PING", "ping_once"]

PING: Final = "/ipfs/ping/1.0.0"
_SIZE: Final = 32


async def ping_once(stream: Stream) -> float:
    """Sends 32 random bytes and waits for them; seconds. HandshakeError when others, or fewer, come back."""
    data = secrets.token_bytes(_SIZE)
    begun = time.perf_counter()
    stream.write(data)
    try:
        answer = await stream.readexactly(_SIZE)
    except asyncio.IncompleteReadError as error:
        answer = error.partial
    if answer != data:
        raise HandshakeError("the peer answered a ping with other bytes; it does not follow the protocol")
    return time.perf_counter() - begun
