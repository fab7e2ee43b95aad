"""The program between the two TUN devices of a `Delay`.

It is given their namespaces, their names and the delay of a round trip in seconds; each line of its standard input sets
another delay. Order is kept. Enough for some 100 Mbit/s.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import sys
import time
from collections import deque

from tests.net.lab.namespaces import enter

_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000


def _open(namespace: str, name: str) -> int:
    enter(namespace)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


def _carry(devices: list[int], delay: float) -> None:
    # Of each direction: when it is due, and what.
    under_way: list[deque[tuple[float, bytes]]] = [deque(), deque()]
    told = b""
    while True:
        due = min((queue[0][0] for queue in under_way if queue), default=None)
        wait = None if due is None else max(0.0, due - time.monotonic())
        readable, _, _ = select.select([*devices, 0], [], [], wait)
        now = time.monotonic()
        if 0 in readable:
            more = os.read(0, 100)
            if not more:
                return
            *lines, told = (told + more).split(b"\n")
            delay = float(lines[-1]) if lines else delay
        for way, device in enumerate(devices):
            if device in readable:
                queue = under_way[way]
                at = max(now + delay / 2, queue[-1][0] if queue else 0.0)
                queue.append((at, os.read(device, 65536)))
        for way, queue in enumerate(under_way):
            while queue and queue[0][0] <= now:
                # A device that is not up yet takes none: lost, as on any line.
                with contextlib.suppress(OSError):
                    os.write(devices[1 - way], queue.popleft()[1])


def main() -> None:
    """Opens the devices, says so, and carries packets until standard input ends."""
    one, other, name, peer, delay = sys.argv[1:]
    devices = [_open(one, name), _open(other, peer)]
    print("ready", flush=True)
    _carry(devices, float(delay))


if __name__ == "__main__":
    main()
