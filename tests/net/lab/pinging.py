"""ICMP echo from a host of the lab, timed by the kernel, so that a busy machine does not show as a slow line."""

from __future__ import annotations

import select
import socket
import statistics
import struct
import time
from dataclasses import dataclass

from tests.net.lab.namespaces import Host

_SO_TIMESTAMPNS = 35
_ECHO, _ECHO_REPLY = 8, 0
_PATIENCE = 2.0


@dataclass(frozen=True)
class Pings:
    """Round trips in seconds, and how many got no answer."""

    times: list[float]
    lost: int

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    def part(self, p: float) -> float:
        """The time that a part p of them did not exceed."""
        return sorted(self.times)[min(len(self.times) - 1, int(p * len(self.times)))]


def ping(host: Host, address: str, seconds: float, every: float = 0.02) -> Pings:
    """Pings `address` from `host` for so long and returns the round trips."""
    sent: dict[int, int] = {}
    times: list[float] = []
    waiting = select.poll()
    with host.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        waiting.register(s, select.POLLIN)
        s.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        s.setblocking(False)
        begun = time.monotonic()
        number = 0
        while time.monotonic() < begun + seconds + (_PATIENCE if sent else 0):
            if begun + number * every <= time.monotonic() < begun + seconds:
                sent[number] = time.clock_gettime_ns(time.CLOCK_REALTIME)
                s.sendto(_request(number), (address, 0))
                number += 1
            wait = max(0.0, begun + number * every - time.monotonic())
            if waiting.poll(min(wait, every) * 1000):
                data, notes, _, _ = s.recvmsg(2048, 512)
                kind, at = data[20], struct.unpack_from("!H", data, 26)[0]
                if kind == _ECHO_REPLY and at in sent:
                    seconds_, nanoseconds = struct.unpack("@ll", notes[0][2])
                    times.append((seconds_ * 10**9 + nanoseconds - sent.pop(at)) * 1e-9)
    return Pings(times, len(sent))


def _request(number: int) -> bytes:
    words = [_ECHO << 8, 0, 1, number]
    total = sum(words)
    words[1] = ~(total + (total >> 16)) & 0xFFFF
    return struct.pack("!4H", *words)
