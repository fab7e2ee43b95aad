"""How late the first hops of our own line answer: probes that expire on the way, and what the kernel says of them.

A datagram that may travel one hop, and one that may travel two, are sent towards a peer: the first comes as far as the
router at home, the second as far as the provider's end of the line, and neither reaches the peer. Routers answer with
an ICMP message, which the socket's error queue holds with the time of its arrival; that needs no privilege. Routers
that do not answer leave the matter unknown.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections import deque
from typing import Final, Self

__all__ = ["FirstHop"]

_HOPS: Final = (1, 2)
_EVERY_S: Final = 0.5
"""Between probes: a Linux router answers each asker once a second, and the two hops take turns."""
_FRESH_S: Final = 3.0
_PORTS: Final = range(33434, 33534)
"""Where traceroute sends its probes."""
_RECENT: Final = 2
"""Answers of which the quicker counts: a router now and then takes its time."""
_LEAST: Final = 120
"""Answers that the least round trip is taken of."""

# <linux/in.h>, <linux/in6.h> and <asm-generic/socket.h>; Python does not name them.
_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
_SO_TIMESTAMPNS: Final = 35
_TIMESPEC: Final = struct.Struct("@ll")


class _Hop:
    """One hop's answers, seconds each."""

    def __init__(self) -> None:
        self.times: deque[float] = deque(maxlen=_LEAST)
        self.answered_at = 0.0

    def delay(self, now: float) -> float | None:
        if len(self.times) < _RECENT or now - self.answered_at > _FRESH_S:
            return None
        return min(list(self.times)[-_RECENT:]) - min(self.times)


class FirstHop:
    """Probes towards `address` (IPv4 or IPv6). OSError when the machine gives no socket for it."""

    def __init__(self, address: str) -> None:
        six = ":" in address
        self.address = address
        self._socket = socket.socket(
            socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        )
        self._level = socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP
        self._ttl = socket.IPV6_UNICAST_HOPS if six else socket.IP_TTL
        try:
            self._socket.setsockopt(self._level, _IPV6_RECVERR if six else _IP_RECVERR, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        except OSError:
            self.close()
            raise
        self._hops = {ttl: _Hop() for ttl in _HOPS}
        self._under_way: dict[int, tuple[int, int]] = {}
        self._sent = 0
        self._sent_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """No more probes."""
        self._socket.close()

    def probe(self, now: float) -> None:
        """Takes the answers there are and sends the next probe when it is time. `now` is monotonic."""
        self._collect(now)
        if now - self._sent_at < _EVERY_S:
            return
        self._sent_at = now
        ttl = _HOPS[self._sent % len(_HOPS)]
        port = _PORTS[self._sent % len(_PORTS)]
        self._sent += 1
        self._under_way[port] = (ttl, time.clock_gettime_ns(time.CLOCK_REALTIME))
        # An error that an earlier probe met may be told here; the next one goes out all the same.
        with contextlib.suppress(OSError):
            self._socket.setsockopt(self._level, self._ttl, ttl)
            self._socket.sendto(b"", (self.address, port))

    def delay(self, now: float) -> float | None:
        """How much later than at best the slower hop answers, in seconds; None when unknown."""
        delays = [delay for hop in self._hops.values() if (delay := hop.delay(now)) is not None]
        return max(delays, default=None)

    def _collect(self, now: float) -> None:
        while True:
            try:
                _, notes, _, to = self._socket.recvmsg(0, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return
            ttl, sent = self._under_way.pop(to[1], (0, 0))
            arrived = next((n[2] for n in notes if n[:2] == (socket.SOL_SOCKET, _SO_TIMESTAMPNS)), None)
            if ttl and arrived is not None:
                seconds, nanoseconds = _TIMESPEC.unpack(arrived)
                took = (seconds * 1_000_000_000 + nanoseconds - sent) * 1e-9
                if 0 <= took <= _FRESH_S:
                    self._hops[ttl].times.append(took)
                    self._hops[ttl].answered_at = now
