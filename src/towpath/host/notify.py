"""Tells the service manager how the node is doing: ready, reloading, stopping, alive (sd_notify(3)).

Each message is one datagram to the socket that NOTIFY_SOCKET names. Without that variable nothing is sent, so
callers need not ask whether a manager is there. Sending never blocks: what a busy manager misses, the next beat
says again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, MutableMapping
from typing import Final

__all__ = ["BEAT", "Manager"]

BEAT: Final = 30.0
"""Seconds between beats, unless the manager's watchdog wants them closer together."""


class Manager:
    """The service manager above this process. For use on the event loop: a loop that hangs stops the beats."""

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        """`address`: NOTIFY_SOCKET's value, `@` for an abstract socket; `watchdog`: seconds it waits for a beat."""
        self._address: str | None = None
        if address is not None and len(address) > 1 and address[0] in "/@":
            self._address = "\0" + address[1:] if address[0] == "@" else address
        self.interval: Final = BEAT if watchdog is None else min(BEAT, watchdog / 2)
        self._state = ""
        self._sentence: Callable[[], str] = str
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def above(cls, environ: MutableMapping[str, str]) -> Manager:
        """The manager that `environ` names; the variables are taken out, so that no child speaks for this process."""
        address = environ.pop("NOTIFY_SOCKET", None)
        period, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        ours = period.isdecimal() and int(period) > 0 and pid in ("", str(os.getpid()))
        return cls(address, int(period) / 1e6 if ours else None)

    def ready(self, sentence: Callable[[], str]) -> None:
        """The node serves. From now on beats tell so, with what `sentence()` gives as the one line of its status."""
        self._sentence = sentence
        self._state = "READY=1"
        if self._address is not None:
            self._beat()

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Around taking up changed settings."""
        if self._state == "READY=1":
            self._state = "RELOADING=1"
            self._send(f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        try:
            yield
        finally:
            if self._state == "RELOADING=1":
                self._state = "READY=1"
                self._send()

    def stopping(self) -> None:
        """The node ends; no beats follow."""
        if self._timer is not None:
            self._timer.cancel()
        self._state = "STOPPING=1"
        self._send("STATUS=Stopping")

    def _beat(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.interval, self._beat)
        # The state again, for a manager that was too busy to take it the first time.
        self._send("WATCHDOG=1")
        self._send("STATUS=" + self._sentence().replace("\n", " "))

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        message = "\n".join((self._state, *lines)).encode()
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock,
        ):
            sock.sendto(message, self._address)
