"""A TCP connection whose every byte, and whose end, the test decides."""

import asyncio
import contextlib
import socket
import struct
from pathlib import Path
from typing import Self

from tests.peerlab.patience import PATIENCE, eventually, within

_READ = 1 << 18


class Wire:
    """One connected socket. `heard` keeps what came in when `record` is set."""

    def __init__(self, sock: socket.socket, *, record: bool = False) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.heard: bytearray | None = bytearray() if record else None
        self.piece = 0
        """when set, nothing is sent in larger pieces, and each must have been read before the next follows"""
        self._ahead = bytearray()
        self.how_it_ended: str | None = None

    @classmethod
    async def dial(
        cls, address: tuple[str, int], *, source: str | None = None, record: bool = False, receive_buffer: int = 0
    ) -> "Wire":
        """Connects, from the given local address if one is given."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source:
                sock.bind((source, 0))
            async with within(PATIENCE, f"connecting to {address}"):
                await asyncio.get_running_loop().sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return cls(sock, record=record)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def local(self) -> tuple[str, int]:
        host, port = self.sock.getsockname()[:2]
        return host, port

    @property
    def remote(self) -> tuple[str, int]:
        host, port = self.sock.getpeername()[:2]
        return host, port

    async def send(self, data: bytes) -> None:
        """Returns when the kernel has taken it all; in pieces, when it has taken all but the last."""
        loop = asyncio.get_running_loop()
        size = self.piece or max(len(data), 1)
        for at in range(0, len(data), size):
            if at:
                await self.taken()
            await loop.sock_sendall(self.sock, data[at : at + size])

    async def read(self, size: int) -> bytes:
        """Exactly `size` bytes; EOFError when the other side ended first (`how_it_ended` says how)."""
        while len(self._ahead) < size:
            if not await self._fill():
                raise EOFError(f"the connection was {self.how_it_ended}")
        data = bytes(self._ahead[:size])
        del self._ahead[:size]
        return data

    async def _fill(self) -> bool:
        try:
            data = await asyncio.get_running_loop().sock_recv(self.sock, _READ)
        except (ConnectionResetError, BrokenPipeError):
            self.how_it_ended = "reset"
            return False
        if not data:
            self.how_it_ended = "closed"
            return False
        if self.heard is not None:
            self.heard += data
        self._ahead += data
        return True

    async def ended(self, patience: float = PATIENCE) -> str:
        """Reads on until the other side ends the connection, and says how: "closed" or "reset"."""
        async with within(patience, "the end of the connection"):
            while await self._fill():
                self._ahead.clear()
        return self.how_it_ended or "closed"

    async def taken(self) -> None:
        """Returns when the other process has read all that was sent (on loopback nothing is ever under way): a later
        send is another read for it."""
        here, there = f"{self.local[1]:04X}", f"{self.remote[1]:04X}"

        def queued() -> bool:
            for table in ("/proc/net/tcp", "/proc/net/tcp6"):
                for row in Path(table).read_text("ascii").splitlines():
                    _, local, remote, _, queues, *_ = row.split(maxsplit=5)
                    ports = local.rpartition(":")[2], remote.rpartition(":")[2]
                    if ports == (there, here) and not queues.endswith(":00000000"):
                        return True
            return False

        await eventually(lambda: not queued(), "the other side's reading", every=0.0005)

    def finish(self) -> None:
        """Sends a TCP FIN; reading goes on."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Ends the connection with a TCP RST."""
        if self.sock.fileno() >= 0:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()

    async def read_some(self, limit: int) -> bytes:
        """What has come, at least one byte and at most `limit`; EOFError at the end."""
        if not self._ahead and not await self._fill():
            raise EOFError(f"the connection was {self.how_it_ended}")
        return await self.read(min(limit, len(self._ahead)))

    def close(self) -> None:
        """Closes the socket; call it only when no task reads from or writes to it."""
        if self.sock.fileno() >= 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self.sock)
            loop.remove_writer(self.sock)
            self.sock.close()
