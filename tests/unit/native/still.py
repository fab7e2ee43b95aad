"""A reactor on an event loop that turns only when told to, so that what a test observes does not depend on time."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, cast

from towpath._native.endpoint import Endpoint
from towpath._native.reactor import Reactor

BUDGET = 256 * 1024 * 1024


class _Handle:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class StillLoop:
    """As much of an event loop as a Reactor and an asyncio.Future need."""

    def __init__(self) -> None:
        self._soon: deque[Callable[[], None]] = deque()
        self.later: list[tuple[float, _Handle]] = []
        self.complaints: list[dict[str, Any]] = []

    def add_reader(self, fd: int, call: Callable[[], None]) -> None:
        pass

    def remove_reader(self, fd: int) -> None:
        pass

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)  # type: ignore[arg-type]

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.complaints.append(context)

    def call_soon(
        self, call: Callable[..., None], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle | None:
        self._soon.append(lambda: call(*args))
        return None

    def call_later(self, delay: float, call: Callable[[], None]) -> _Handle:
        handle = _Handle(call)
        self.later.append((time.monotonic() + delay, handle))
        return handle

    def run(self) -> None:
        """Runs what is due now, and what that brings about, until nothing is left."""
        while self._soon:
            self._soon.popleft()()

    def tick(self) -> None:
        """Runs what was to come later, if its time has come."""
        now = time.monotonic()
        due = [handle for at, handle in self.later if at <= now]
        self.later = [(at, handle) for at, handle in self.later if at > now]
        for handle in due:
            if handle.call is not None:
                handle.call()
        self.run()

    def run_until(self, holds: Callable[[], bool], what: str, patience: float = 20.0) -> None:
        """Lets real time pass, timer by timer, until something holds."""
        end = time.monotonic() + patience
        while not holds():
            assert self.later, f"nothing is left to happen before {what}"
            assert time.monotonic() < end, f"waited {patience} s for {what}"
            time.sleep(max(0.0, min(at for at, _ in self.later) - time.monotonic()))
            self.tick()


class Cable:
    """Two endpoints back to back: what one sends the other receives, in pieces of at most `piece` bytes."""

    def __init__(self, world: World, dialer: Endpoint, listener: Endpoint, piece: int = 1 << 20) -> None:
        self.world, self.piece = world, piece
        self.room: list[int | None] = [None, None]
        """how many bytes each end may still send; None: any"""
        self.ends = (
            dialer.over_memory(True, lambda data: self._carry(0, data)),
            listener.over_memory(False, lambda data: self._carry(1, data)),
        )
        world.run()

    def _carry(self, source: int, data: bytes) -> int:
        room = self.room[source]
        taken = len(data) if room is None else min(room, len(data))
        if room is not None:
            self.room[source] = room - taken
        for at in range(0, taken, self.piece):
            self.world.loop.call_soon(self.ends[1 - source].receive, data[at : min(at + self.piece, taken)])
        return taken

    def open(self, source: int, room: int | None = None) -> None:
        """Lets one end send so many bytes more, or any."""
        self.room[source] = room
        self.ends[source].resume()
        self.world.run()

    def cut(self) -> None:
        for end in self.ends:
            end.close()
        self.world.run()


class World:
    """Endpoints on one reactor. Leaving it closes them and checks that nothing is held and nothing complained.

    Native code can't raise to its caller: what goes wrong in it is reported to sys.unraisablehook, and heard here.
    """

    def __init__(self, budget: int = BUDGET, aead: str = "libsodium") -> None:
        self.loop = StillLoop()
        self.reactor = Reactor(cast(asyncio.AbstractEventLoop, self.loop), aead, budget)
        self.endpoints: list[Endpoint] = []
        self.unraisable: list[str] = []

    def endpoint(self, seed: int = 1) -> Endpoint:
        endpoint = Endpoint(self.reactor, bytes([seed]) * 32)
        self.endpoints.append(endpoint)
        return endpoint

    def run(self) -> None:
        self.loop.run()

    @property
    def timers(self) -> int:
        return int(self.reactor.stats()["timers"])

    def close(self) -> None:
        """Ends every connection and lets the endpoints go."""
        for endpoint in self.endpoints:
            endpoint.close()
        self.run()
        for endpoint in self.endpoints:
            endpoint.abort()
        self.run()

    def check_empty(self) -> None:
        """After `close`: nothing is counted, held or awaited any more."""
        for endpoint in self.endpoints:
            assert endpoint.connections == 0
            assert not endpoint.peers
        assert self.reactor.held == 0
        assert self.timers == 0

    def __enter__(self) -> Self:
        self._hook, sys.unraisablehook = sys.unraisablehook, self._hear
        return self

    def _hear(self, unraisable: sys.UnraisableHookArgs) -> None:
        self.unraisable.append(f"{unraisable.exc_value!r} in {unraisable.object!r}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
            if kind is None:
                self.check_empty()
            self.reactor.close()
        finally:
            sys.unraisablehook = self._hook
        if kind is None:
            assert not self.unraisable
            assert not self.loop.complaints
