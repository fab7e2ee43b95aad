"""Ports that the router forwards to this machine: asked for, renewed while the node runs, given back when it ends.

A renewal every few minutes is also how a router that was restarted, or got another address, is noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from towpath.host.port_mapping.gateway import default_gateway
from towpath.host.port_mapping.methods import Mapped, MappingFailed, Method, NatPmp, Pcp, Upnp
from towpath.log import get_logger

__all__ = ["Mapped", "PortMapping"]

LIFETIME_S: Final = 1200
_RENEW_S: Final = 300.0
_AGAIN_S: Final = 900.0
"""When all failed: a router rarely learns it later."""
_ASKED_S: Final = 1.0
"""What an answer that is under way gets when the node ends."""
_GIVE_BACK_S: Final = 2.0
_log = get_logger("port_mapping")


def of_this_network(secret: bytes) -> Sequence[Method]:
    """The ways there are here, the most capable first."""
    gateway = default_gateway()
    return [] if gateway is None else [Pcp(gateway, secret), NatPmp(gateway), Upnp()]


class PortMapping:
    """Keeps `ports()` (TCP, of this machine) mapped between `start` and `stop`.

    `changed()` is called when `mapped` or `sentence` is another. `methods()` gives the ways to try, in order.
    """

    def __init__(
        self, ports: Callable[[], Iterable[int]], changed: Callable[[], None], methods: Callable[[], Sequence[Method]]
    ) -> None:
        self.mapped: tuple[Mapped, ...] = ()
        """What the router forwards right now."""
        self.sentence = "the router has not been asked yet"
        self._ports = ports
        self._changed = changed
        self._methods = methods
        self._held: dict[int, tuple[Method, Mapped]] = {}
        self._asking: tuple[int, Method, asyncio.Task[Mapped]] | None = None
        self._wake = asyncio.Event()
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Asks, in the background."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Gives everything back, in a few seconds at most."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait((self._task,))
        self._task = None
        if self._asking is not None:
            # The router may be about to say yes.
            port, method, asked = self._asking
            await asyncio.wait((asked,), timeout=_ASKED_S)
            if asked.done() and not asked.cancelled() and asked.exception() is None:
                self._held[port] = method, asked.result()
            asked.cancel()
        await self._give_back(list(self._held))
        self._tell("port mapping is off")

    async def asked(self, seconds: float) -> None:
        """Returns when the router has been asked at least once, after so many seconds at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._answered.wait(), seconds)

    def look_again(self) -> None:
        """The ports are others, or the network is."""
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            wanted = sorted(set(self._ports()))
            await self._give_back([port for port in self._held if port not in wanted])
            sentence = "no port needs the router" if not wanted else await self._ask(wanted)
            self._tell(sentence)
            self._answered.set()
            rest = min((mapped.lifetime / 2 for _, mapped in self._held.values()), default=_AGAIN_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), min(rest, _RENEW_S) if self._held else rest)

    async def _map(self, port: int, method: Method, wanted: int) -> None:
        # MappingFailed. Not cut off when this task is: what the router then gives must be given back.
        asked = asyncio.create_task(method.map(port, wanted, LIFETIME_S))
        self._asking = port, method, asked
        self._held[port] = method, await asyncio.shield(asked)
        self._asking = None

    async def _ask(self, wanted: list[int]) -> str:
        methods: Sequence[Method] | None = None
        refusals: dict[str, str] = {}
        for port in wanted:
            if port in self._held:
                # What worked is asked first, by the same object: UPnP's knows its router.
                method, mapped = self._held[port]
                try:
                    await self._map(port, method, mapped.external_port)
                    continue
                except MappingFailed:
                    del self._held[port]
            methods = self._methods() if methods is None else methods
            for method in methods:
                try:
                    await self._map(port, method, port)
                    break
                except MappingFailed as failed:
                    refusals[method.name] = str(failed)
        if self._held:
            names = ", ".join(sorted({mapped.method for _, mapped in self._held.values()}))
            return f"the router forwards to this machine ({names})"
        if methods == []:
            return "there is no router to ask: this machine has no IPv4 default route"
        return "the router forwards no port: " + "; ".join(f"{name}: {why}" for name, why in refusals.items())

    async def _give_back(self, ports: list[int]) -> None:
        async def one(method: Method, mapped: Mapped) -> None:
            with contextlib.suppress(MappingFailed):
                await method.unmap(mapped)

        going = [self._held.pop(port) for port in ports]
        if going:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GIVE_BACK_S):
                    await asyncio.gather(*(one(*each) for each in going))

    def _tell(self, sentence: str) -> None:
        mapped = tuple(each for _, each in self._held.values())
        if sentence == self.sentence and [each[:4] for each in mapped] == [each[:4] for each in self.mapped]:
            return
        self.mapped, self.sentence = mapped, sentence
        _log.info("port_mapping", note=sentence, ports=[each.internal_port for each in mapped])
        self._changed()
