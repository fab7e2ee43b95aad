"""A process of ours as its node sees it: started, spoken to, watched, and told when it ends. Never blocks the loop.

It is a module of ours that gets the number of an inherited descriptor: of a SEQPACKET socket, one message a packet.
"""

from __future__ import annotations

import array
import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from towpath.packets import MAX_PACKET

__all__ = ["ChildProcess"]

Said = TypeVar("Said")
Heard = TypeVar("Heard")

_QUEUED: Final = 512
"""Packets that may wait for a process that does not read; with more it is as good as dead."""
_READS: Final = 32
"""Packets taken in one turn of the loop."""


class ChildProcess(Generic[Said, Heard]):
    """One process, `python -m MODULE DESCRIPTOR`.

    `encode` makes bytes of what is said, `decode` a message of what comes (ValueError: none). `heard` is called with
    each message, `ended` once, when it is gone or was given up.
    """

    def __init__(
        self,
        module: str,
        encode: Callable[[Said], bytes],
        decode: Callable[[bytes], Heard],
        heard: Callable[[Heard], None],
        ended: Callable[[str], None],
    ) -> None:
        self._module = module
        self._encode = encode
        self._decode = decode
        self._heard = heard
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._watch = -1
        self._over = False
        self._reaped = asyncio.Event()

    async def start(self) -> None:
        """OSError when there is no process to be had."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        here.setblocking(False)
        self._socket = here
        # In a thread: starting a process takes milliseconds. The thread goes on when nobody waits for it any more.
        starting = asyncio.ensure_future(asyncio.to_thread(_spawn, self._module, there))
        try:
            self._process = await asyncio.shield(starting)
        except BaseException:
            here.close()
            starting.add_done_callback(_unwanted)
            raise
        self.pid: int = self._process.pid
        self._watch = os.pidfd_open(self.pid)
        self._loop.add_reader(self._watch, self._exited)
        self._loop.add_reader(here.fileno(), self._readable)

    def say(self, message: Said, descriptor: int = -1) -> None:
        """Sends, or queues; `descriptor` goes along and is closed here in any case."""
        if self._over:
            if descriptor >= 0:
                os.close(descriptor)
            return
        packet = (self._encode(message), descriptor)
        if self._waiting or not self._send(*packet):
            self._waiting.append(packet)
            if len(self._waiting) == 1:
                self._loop.add_writer(self._socket.fileno(), self._writable)
            elif len(self._waiting) > _QUEUED:
                self.end("it does not read what it is told")

    def end(self, why: str) -> None:
        """Kills it, if it still runs. Everything that it held is closed."""
        if self._over:
            return
        self._over = True
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for _, descriptor in self._waiting:
            if descriptor >= 0:
                os.close(descriptor)
        self._waiting.clear()
        if self._watch >= 0 and self._process.poll() is None:
            self._process.kill()
        self._ended(why)

    async def gone(self) -> None:
        """Returns once an ended process has left the system."""
        await self._reaped.wait()

    def _exited(self) -> None:
        self._loop.remove_reader(self._watch)
        os.close(self._watch)
        self._watch = -1
        code = self._process.wait()
        self._reaped.set()
        how = signal.Signals(-code).name if code < 0 else f"status {code}"
        self.end(f"it ended with {how}")

    def _readable(self) -> None:
        for _ in range(_READS):
            try:
                data = self._socket.recv(MAX_PACKET)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.end("it closed its socket")
                return
            try:
                message = self._decode(data)
            except ValueError as error:
                self.end(f"it said what it may not: {error}")
                return
            self._heard(message)
            if self._over:
                return

    def _writable(self) -> None:
        while self._waiting and self._send(*self._waiting[0]):
            self._waiting.popleft()
            if self._over:
                return
        if not self._waiting:
            self._loop.remove_writer(self._socket.fileno())

    def _send(self, data: bytes, descriptor: int) -> bool:
        beside = []
        if descriptor >= 0:
            beside.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor])))
        try:
            self._socket.sendmsg([data], beside)
        except BlockingIOError:
            return False
        except OSError:
            # Gone, which the reader will find, too.
            pass
        if descriptor >= 0:
            os.close(descriptor)
        return True


def _spawn(module: str, end: socket.socket) -> subprocess.Popen[bytes]:
    with end:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", module, str(end.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(end.fileno(),),
            start_new_session=True,
        )


def _unwanted(starting: asyncio.Future[subprocess.Popen[bytes]]) -> None:
    # It finds its socket closed and ends by itself; this is only sooner.
    if not starting.cancelled() and starting.exception() is None:
        process = starting.result()
        process.kill()
        process.wait()
