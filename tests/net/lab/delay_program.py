"""The program between the two TUN devices of every `Delay` of a lab.

Lines of its standard input:

    add NAMESPACE NAMESPACE NAME NAME SECONDS LOSS    opens two devices and answers "ready"
    set NAME SECONDS LOSS                             another round trip and loss from now on

Order is kept. Enough for some 100 Mbit/s in all.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import time

from tests.net.lab.namespaces import enter

_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_AT_ONCE = 32


class _Link:
    def __init__(self, seconds: float, loss: float) -> None:
        self.set(seconds, loss)

    def set(self, seconds: float, loss: float) -> None:
        self.one_way = seconds / 2
        self.loss = loss


class _Way:
    """One direction: from one device of a link to the other."""

    def __init__(self, link: _Link, out: int) -> None:
        self.link = link
        self.out = out
        self.last_due = 0.0


class _Carrier:
    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}
        self._ways: dict[int, _Way] = {}
        self._under_way: list[tuple[float, int, int, bytes]] = []
        """When it is due, a number that keeps order, where to, and what."""
        self._numbers = itertools.count()
        self._rng = random.Random(1)
        self._told = b""

    def run(self) -> None:
        """Carries packets until standard input ends."""
        going = True
        while going:
            wait = max(0.0, self._under_way[0][0] - time.monotonic()) if self._under_way else None
            for ready in select.select([0, *self._ways], [], [], wait)[0]:
                if ready:
                    self._read(ready, self._ways[ready])
                else:
                    going = self._listen()
            self._deliver()

    def _read(self, device: int, way: _Way) -> None:
        now = time.monotonic()
        with contextlib.suppress(BlockingIOError):
            for _ in range(_AT_ONCE):
                packet = os.read(device, 65536)
                if way.link.loss and self._rng.random() < way.link.loss:
                    continue
                way.last_due = max(now + way.link.one_way, way.last_due)
                heapq.heappush(self._under_way, (way.last_due, next(self._numbers), way.out, packet))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._under_way and self._under_way[0][0] <= now:
            _, _, out, packet = heapq.heappop(self._under_way)
            # A device that is not up yet takes none: lost, as on any line.
            with contextlib.suppress(OSError):
                os.write(out, packet)

    def _listen(self) -> bool:
        more = os.read(0, 4096)
        *lines, self._told = (self._told + more).split(b"\n")
        for line in lines:
            what, *words = line.decode().split()
            if what == "add":
                self._add(*words)
            else:
                name, seconds, loss = words
                self._links[name].set(float(seconds), float(loss))
        return bool(more)

    def _add(self, one: str, other: str, name: str, peer: str, seconds: str, loss: str) -> None:
        here, there = _open(one, name), _open(other, peer)
        link = self._links[name] = _Link(float(seconds), float(loss))
        self._ways[here], self._ways[there] = _Way(link, there), _Way(link, here)
        print("ready", flush=True)


def _open(namespace: str, name: str) -> int:
    enter(namespace)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


if __name__ == "__main__":
    _Carrier().run()
