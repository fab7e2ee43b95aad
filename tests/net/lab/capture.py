"""Every packet that a host sends, receives or passes on."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.net.lab.namespaces import Host

_ALL: Final = 0x0003
_ADDRESSES: Final = {0x0800: (12, 4, 9), 0x86DD: (8, 16, 6)}
"""By kind of packet: where its addresses begin, how long each is, and where the protocol stands."""
_SOL_PACKET: Final = 263
_STATISTICS: Final = 6
_OUTGOING: Final = 4
_SO_RCVBUFFORCE: Final = 33
_BUFFER: Final = 64 << 20


@dataclass(frozen=True)
class Packet:
    """An IP packet on one of a host's links."""

    link: str
    outgoing: bool
    source: str
    destination: str
    protocol: int
    data: bytes
    """All of it, from its IP header on."""


class Capture:
    """What passed a host while it was in use as a context manager. Fails at its end when it missed a packet."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.packets: list[Packet] = []
        self._ending = threading.Event()
        # SOCK_DGRAM leaves out the link header, which TUN devices don't have.
        self._socket = host.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._socket.settimeout(0.05)
        self._thread = threading.Thread(target=self._read, name=f"capture on {host.name}")

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        missed = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1]
        self._socket.close()
        if missed:
            raise AssertionError(f"the capture on {self.host.name} missed {missed} packets")

    def between(self, some: set[str], others: set[str]) -> list[Packet]:
        """Packets from an address of the one set to one of the other, or back."""
        return [
            p
            for p in self.packets
            if (p.source in some and p.destination in others) or (p.source in others and p.destination in some)
        ]

    def partners(self, address: str) -> set[str]:
        """The addresses with which `address` exchanged packets here."""
        return {p.source for p in self.packets if p.destination == address} | {
            p.destination for p in self.packets if p.source == address
        }

    def _read(self) -> None:
        while True:
            try:
                data, (link, kind, direction, *_) = self._socket.recvfrom(65600)
            except TimeoutError:
                if self._ending.is_set():
                    return
                continue
            if link == "lo" or kind not in _ADDRESSES:
                continue
            at, size, protocol = _ADDRESSES[kind]
            source, destination = (str(ipaddress.ip_address(data[k : k + size])) for k in (at, at + size))
            self.packets.append(Packet(link, direction == _OUTGOING, source, destination, data[protocol], data))


@contextlib.contextmanager
def capturing(*hosts: Host) -> Iterator[list[Capture]]:
    """Captures on several hosts."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Capture(host)) for host in hosts]
