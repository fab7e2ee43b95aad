"""Relays recorded bytes without sockets: `python -m benchmarks.replay_session DIRECTORY FRAME:COUNT…`.

For each FRAME:COUNT a relay endpoint with two peers in memory, a circuit between them, and 2 × COUNT DATA frames of
FRAME bytes that the dialer has sealed, one Noise message each. Half of them are fed to the relay in reads of 128 KiB,
then the process calls getppid(), feeds the other half, and calls it again: between the two calls it does nothing but
relay. What the relay sends is dropped. The plaintexts of that half, sealed under RECORDING_KEY for the C reference,
are DIRECTORY/FRAME.
"""

import os
import struct
import sys
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

from tests.peerlab import circuit, yamux
from tests.peerlab.keys import Identity
from tests.peerlab.noise import TAG, Cipher, Handshake, payload
from tests.peerlab.upgrade import NOISE, YAMUX, proposal

from towpath._native.endpoint import Endpoint
from towpath._native.hop import Verdict
from towpath._native.reactor import Reactor

RECORDING_KEY: Final = bytes(32)
_READ: Final = 128 * 1024
_WINDOW: Final = 16 * 1024 * 1024 - yamux.WINDOW
_OK: Final = 100


class Loop:
    """As much of an event loop as the reactor needs when nothing is waited for."""

    def __init__(self) -> None:
        self._soon: deque[Callable[[], None]] = deque()

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None: ...

    def remove_reader(self, fd: int) -> None: ...

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> "Loop":
        return self

    def cancel(self) -> None: ...

    def run(self) -> None:
        while self._soon:
            self._soon.popleft()()


class Policy:
    """Everybody may."""

    def reserve(self, *_: object) -> Verdict:
        return Verdict(_OK, 3600)

    def connect(self, *_: object) -> Verdict:
        return Verdict(_OK)


class Peer:
    """A client of the relay, as far as this program needs one: everything is sealed before it is fed."""

    def __init__(self, relay: Endpoint, loop: Loop) -> None:
        self.identity = Identity.ed25519()
        self._loop = loop
        self._received = b""
        self._listening = True
        self.channel: Any = relay.over_memory(False, self._take)
        self._upgrade()
        self._listening = False

    def seal(self, plain: bytes) -> bytes:
        """One Noise message."""
        return seal(self._sending, plain)

    def tell(self, *frames: bytes) -> None:
        """Sends frames in one message and lets the relay act on them."""
        self.channel.receive(self.seal(b"".join(frames)))
        self._loop.run()

    def _take(self, data: bytes) -> None:
        if self._listening:
            self._received += data

    def _upgrade(self) -> None:
        self._exchange(proposal(NOISE))
        noise = Handshake(initiator=True)
        answer = self._exchange(_long(noise.write()))
        noise.read(answer[2:])
        proof = noise.write(payload(self.identity, noise.static_public, (YAMUX,)))
        self._sending, _ = noise.split()
        self._exchange(_long(proof))

    def _exchange(self, data: bytes) -> bytes:
        self._received = b""
        self.channel.receive(data)
        self._loop.run()
        return self._received


def _long(message: bytes) -> bytes:
    return struct.pack(">H", len(message)) + message


def seal(cipher: Cipher, plain: bytes) -> bytes:
    """One Noise message on the wire."""
    return struct.pack(">H", len(plain) + TAG) + cipher.seal(plain)


def _open_circuit(dialer: Peer, listener: Peer) -> None:
    """Stream 1 of the dialer becomes a circuit to stream 2 of the listener, which grants a large window."""
    listener.tell(yamux.data(1, proposal(circuit.HOP) + circuit.reserve_message(), yamux.SYN))
    request = proposal(circuit.HOP) + circuit.connect_message(listener.identity.peer_id)
    dialer.tell(yamux.data(1, request, yamux.SYN))
    accepted = proposal(circuit.STOP) + circuit.stop_status(_OK)
    listener.tell(yamux.data(2, accepted, yamux.ACK), yamux.window_update(2, _WINDOW))


def relay(frame: int, count: int, recording: Path) -> None:
    """One circuit, 2 × `count` frames."""
    loop = Loop()
    endpoint = Endpoint(Reactor(cast(AbstractEventLoop, loop), "openssl"), bytes(32))
    endpoint.ask_identify = False
    service = endpoint.start_relaying(Policy())
    dialer, listener = Peer(endpoint, loop), Peer(endpoint, loop)
    _open_circuit(dialer, listener)
    body = yamux.data(1, bytes(frame))
    again = Cipher(RECORDING_KEY)
    recording.write_bytes(b"".join(seal(again, body) for _ in range(count)))
    halves = [_reads(b"".join(dialer.seal(body) for _ in range(count))) for _ in range(2)]

    def feed(reads: Sequence[bytes]) -> None:
        for read in reads:
            dialer.channel.receive(read)
            loop.run()

    feed(halves[0])
    os.getppid()
    feed(halves[1])
    os.getppid()
    carried = service.totals()[0]
    if carried != 2 * count * frame:
        raise SystemExit(f"{2 * count * frame} bytes were fed and {carried} relayed")


def _reads(data: bytes) -> list[bytes]:
    return [data[at : at + _READ] for at in range(0, len(data), _READ)]


if __name__ == "__main__":
    for each in sys.argv[2:]:
        size, number = map(int, each.split(":"))
        relay(size, number, Path(sys.argv[1], str(size)))
