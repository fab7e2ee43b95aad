"""A TCP connection whose every byte, and whose end, the test decides."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Self

from tests.peerlab.multiaddr import to_bytes
from tests.peerlab.patience import PATIENCE, eventually, within

_READ = 1 << 18
_ANY = 0xFFFFFFFF
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST = 4, 20, 1


class Wire:
    """One connected socket. `heard` keeps what came in when `record` is set."""

    def __init__(self, sock: socket.socket, *, record: bool = False) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.local, self.remote = _name(sock.getsockname), _name(sock.getpeername)
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
    def observed(self) -> bytes:
        """The other side's address as a multiaddr."""
        host, port = self.remote
        return to_bytes(f"/ip{6 if ':' in host else 4}/{host}/tcp/{port}")

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
        await eventually(lambda: not unread_between(self.remote, self.local), "the other side's reading", every=0.0005)

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


def _name(ask: Callable[[], Any]) -> tuple[str, int]:
    """Host and port of one end; of a socket that has been reset meanwhile there is none to tell."""
    try:
        host, port = ask()[:2]
    except OSError:
        return "0.0.0.0", 0
    return host, port


def unread_between(receiver: tuple[str, int], sender: tuple[str, int]) -> int:
    """Bytes that the receiver's end of a connection on this machine holds, unread by its process (sock_diag(7))."""
    v6 = ":" in receiver[0]
    ends = [ip_address(host).packed.ljust(16, b"\0") for host, _ in (receiver, sender)]
    request = struct.pack("=BBBBI", socket.AF_INET6 if v6 else socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _ANY)
    request += struct.pack(">HH", receiver[1], sender[1]) + ends[0] + ends[1] + struct.pack("=III", 0, _ANY, _ANY)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.send(struct.pack("=IHHII", 16 + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + request)
        answer = netlink.recv(1024)
    (kind,) = struct.unpack_from("=H", answer, 4)
    if kind != _SOCK_DIAG_BY_FAMILY:
        return 0
    (unread,) = struct.unpack_from("=I", answer, 16 + 4 + 48 + 4)
    return int(unread)
