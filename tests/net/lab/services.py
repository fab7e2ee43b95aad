"""TCP services on hosts of the lab, run by threads of the test itself."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.net.lab.namespaces import Host

_BLOCK: Final = 1 << 20
_READ: Final = 1 << 16


@contextlib.contextmanager
def serving(host: Host, serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serves every connection to a port of the host's own loopback with `serve`; HOST:PORT."""
    listener = host.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    open_ones: list[socket.socket] = []

    def each(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            serve(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                open_ones.append(connection)
                threading.Thread(target=each, args=(connection,), name=f"service on {host.name}", daemon=True).start()

    thread = threading.Thread(target=accept, name=f"listener on {host.name}")
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        # Closing alone would leave the thread in accept.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in open_ones:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def echo(connection: socket.socket) -> None:
    """Sends back what comes, to its end."""
    while data := connection.recv(_READ):
        connection.sendall(data)


def connect_to(host: Host, place: str, timeout: float = 30.0) -> socket.socket:
    """A connection from the host to HOST:PORT on its own loopback."""
    address, _, port = place.rpartition(":")
    s = host.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.settimeout(timeout)
    s.connect((address, int(port)))
    return s


def exchange(host: Host, place: str, data: bytes, timeout: float = 30.0) -> bytes:
    """Sends all of it there, ends that direction, and returns everything that comes back."""
    with connect_to(host, place, timeout) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        found = bytearray()
        while piece := s.recv(_READ):
            found += piece
        return bytes(found)


class Blob:
    """`size` bytes that are the same each time, and no part of which is like another one: as a service."""

    def __init__(self, size: int, seed: int = 1) -> None:
        self.size = size
        self._seed = seed

    def blocks(self) -> Iterator[bytes]:
        """All of it, in order."""
        block = random.Random(self._seed).randbytes(_BLOCK)
        for number in range(-(-self.size // _BLOCK)):
            left = self.size - number * _BLOCK
            yield (number.to_bytes(8, "big") + block[8:])[:left]

    def sha256(self) -> str:
        """Of all of it."""
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()

    def serve(self, connection: socket.socket) -> None:
        """Sends all of it, and reads to the other's end."""
        for block in self.blocks():
            connection.sendall(block)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(_READ):
            pass


@dataclass
class Download:
    """Bytes as they came from a connection, `size` in all. Runs in a thread until the end of the stream or an error."""

    connection: socket.socket
    got: int = 0
    failure: OSError | None = None
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    """When (monotonic) bytes came, and how many there were in all by then; not more often than each millisecond."""

    def __post_init__(self) -> None:
        self._digest = hashlib.sha256()
        self._moved = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="download", daemon=True)
        self._thread.start()

    def reached(self, count: int, timeout: float) -> float:
        """Waits until `count` bytes came; the time (monotonic) then."""
        until = time.monotonic() + timeout
        with self._moved:
            while self.got < count:
                if self._ended or not self._moved.wait(until - time.monotonic()):
                    raise AssertionError(f"only {self.got} of {count} bytes came; {self.failure or 'it goes on'}")
            return time.monotonic()

    def finish(self, timeout: float) -> str:
        """Waits for the end; the SHA-256 of everything."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise AssertionError(f"after {timeout:g} s more only {self.got} bytes have come")
        if self.failure is not None:
            raise AssertionError(f"cut off after {self.got} bytes: {self.failure}")
        return self._digest.hexdigest()

    def stall_between(self, begun: float, ended: float) -> float:
        """The longest time without a byte, of those that began before `ended`; what was before `begun` does not
        count."""
        times = [at for at, _ in self.arrivals]
        return max((b - max(a, begun) for a, b in itertools.pairwise(times) if b > begun and a < ended), default=0.0)

    def _read(self) -> None:
        buffer = bytearray(1 << 18)
        view = memoryview(buffer)
        try:
            while n := self.connection.recv_into(buffer):
                self._digest.update(view[:n])
                now = time.monotonic()
                with self._moved:
                    self.got += n
                    if not self.arrivals or now - self.arrivals[-1][0] > 1e-3:
                        self.arrivals.append((now, self.got))
                    self._moved.notify_all()
        except OSError as error:
            self.failure = error
        with self._moved:
            self._ended = True
            self._moved.notify_all()
