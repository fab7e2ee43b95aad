"""The three ways to ask a router for a port: PCP, NAT-PMP, UPnP IGD. Each maps one TCP port for a while.

Nothing blocks the loop: UPnP, which miniupnpc speaks, waits in a thread, which does not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib
import ipaddress
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

from towpath.errors import TowpathError
from towpath.host.port_mapping.messages import (
    PORT,
    UNSUPPORTED_VERSION,
    BadAnswer,
    Granted,
    natpmp_address_request,
    natpmp_map_request,
    pcp_map_request,
    read_natpmp_address,
    read_natpmp_map,
    read_pcp_map,
)

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Mapped", "MappingFailed", "Method", "NatPmp", "Pcp", "Upnp"]

T = TypeVar("T")
_TRIES: Final = (0.25, 0.5, 1.0)
"""Seconds to wait for an answer: a router in the next room answers in milliseconds."""
_DISCOVERY_MS: Final = 2000
_OTHER_PORTS: Final = 8
_NAME: Final = "towpath"


class MappingFailed(TowpathError):
    """The router gave no port; the text says why."""


class Mapped(NamedTuple):
    """A port that the router forwards to this machine."""

    method: str
    internal_port: int
    external_ip: ipaddress.IPv4Address
    external_port: int
    lifetime: float
    """Seconds from the answer on."""


class Method(Protocol):
    """One way. `name` is for people."""

    name: str

    async def map(self, port: int, wanted: int, lifetime: int) -> Mapped:
        """Maps a port of this machine, or renews it; MappingFailed. `wanted` is the outside port asked for."""

    async def unmap(self, mapped: Mapped) -> None:
        """Takes a mapping away; MappingFailed."""


class _Answers(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.arrived: asyncio.Queue[bytes | Exception] = asyncio.Queue(16)

    def datagram_received(self, data: bytes, _: object) -> None:
        if not self.arrived.full():
            self.arrived.put_nowait(data)

    def error_received(self, error: Exception) -> None:
        if not self.arrived.full():
            self.arrived.put_nowait(error)


async def _exchange(
    gateway: ipaddress.IPv4Address,
    port: int,
    request: Callable[[ipaddress.IPv4Address], bytes],
    read: Callable[[bytes], T],
) -> T:
    # What `read` makes of the first answer that is one; the socket takes none but the router's.
    loop = asyncio.get_running_loop()
    try:
        transport, answers = await loop.create_datagram_endpoint(_Answers, remote_addr=(str(gateway), port))
    except OSError as error:
        raise MappingFailed(f"the router {gateway} cannot be asked: {error.strerror or error}") from error
    try:
        client = ipaddress.IPv4Address(transport.get_extra_info("sockname")[0])
        for wait in _TRIES:
            transport.sendto(request(client))
            try:
                async with asyncio.timeout(wait):
                    while True:
                        answer = await answers.arrived.get()
                        if isinstance(answer, Exception):
                            raise MappingFailed("the router does not speak it") from answer
                        try:
                            return read(answer)
                        except BadAnswer as bad:
                            if bad.result is not None:
                                raise
            except TimeoutError:
                continue
        raise MappingFailed("the router does not answer")
    except BadAnswer as bad:
        raise MappingFailed("the router does not speak it" if bad.result == UNSUPPORTED_VERSION else str(bad)) from bad
    finally:
        transport.close()


class Pcp:
    """The Port Control Protocol. `secret` makes nonces that this node finds again after a crash."""

    name = "PCP"

    def __init__(self, gateway: ipaddress.IPv4Address, secret: bytes, *, port: int = PORT) -> None:
        self._gateway = gateway
        self._secret = secret
        self._port = port

    async def map(self, port: int, wanted: int, lifetime: int) -> Mapped:
        """See Method."""
        granted = await self._ask(port, wanted, lifetime)
        if granted.external_ip is None or not granted.lifetime:
            raise MappingFailed("the router gave nothing")
        return Mapped(self.name, port, granted.external_ip, granted.external_port, granted.lifetime)

    async def unmap(self, mapped: Mapped) -> None:
        """See Method."""
        await self._ask(mapped.internal_port, 0, 0)

    async def _ask(self, port: int, wanted: int, lifetime: int) -> Granted:
        nonce = hashlib.blake2b(port.to_bytes(2), key=self._secret, digest_size=12, person=b"pcp nonce").digest()
        return await _exchange(
            self._gateway,
            self._port,
            lambda client: pcp_map_request(client, nonce, port, wanted, lifetime),
            lambda data: read_pcp_map(data, nonce, port),
        )


class NatPmp:
    """NAT-PMP."""

    name = "NAT-PMP"

    def __init__(self, gateway: ipaddress.IPv4Address, *, port: int = PORT) -> None:
        self._gateway = gateway
        self._port = port

    async def map(self, port: int, wanted: int, lifetime: int) -> Mapped:
        """See Method."""
        outside = await _exchange(self._gateway, self._port, lambda _: natpmp_address_request(), read_natpmp_address)
        granted = await self._ask(port, wanted, lifetime)
        if not granted.lifetime:
            raise MappingFailed("the router gave nothing")
        return Mapped(self.name, port, outside, granted.external_port, granted.lifetime)

    async def unmap(self, mapped: Mapped) -> None:
        """See Method."""
        await self._ask(mapped.internal_port, 0, 0)

    async def _ask(self, port: int, wanted: int, lifetime: int) -> Granted:
        request = natpmp_map_request(port, wanted, lifetime)
        return await _exchange(self._gateway, self._port, lambda _: request, lambda data: read_natpmp_map(data, port))


class Upnp:
    """UPnP's Internet Gateway Device, found by multicast once and then known."""

    name = "UPnP"

    def __init__(self, *, interface: str | None = None, discovery_ms: int = _DISCOVERY_MS) -> None:
        self._interface = interface
        self._discovery_ms = discovery_ms
        self._device: Any = None

    async def map(self, port: int, wanted: int, lifetime: int) -> Mapped:
        """See Method."""
        return await _in_thread(lambda: self._map(port, wanted, lifetime))

    async def unmap(self, mapped: Mapped) -> None:
        """See Method."""
        await _in_thread(lambda: self._unmap(mapped.external_port))

    # --- in a thread ---------------------------------------------------------------------------

    def _found(self) -> Any:
        if self._device is None:
            miniupnpc: ModuleType = _miniupnpc()
            device = miniupnpc.UPnP()
            device.discoverdelay = self._discovery_ms
            if self._interface is not None:
                device.multicastif = self._interface
            with contextlib.suppress(Exception):
                # It raises when it finds nothing, and what it found is known to `selectigd`.
                device.discover()
            try:
                device.selectigd()
            except Exception as error:
                raise MappingFailed("no router answers") from error
            self._device = device
        return self._device

    def _map(self, port: int, wanted: int, lifetime: int) -> Mapped:
        device = self._found()
        outside = self._call(device.externalipaddress)
        try:
            external_ip = ipaddress.IPv4Address(outside)
        except ValueError as error:
            raise MappingFailed("the router has no Internet address itself") from error
        for external in range(wanted, min(wanted + _OTHER_PORTS, 65536)):
            try:
                self._add(device, external, port, lifetime)
            except MappingFailed as failed:
                if "Conflict" not in str(failed):
                    raise
                continue
            return Mapped(self.name, port, external_ip, external, lifetime)
        raise MappingFailed("the router forwards these ports to another machine")

    def _add(self, device: Any, external: int, port: int, lifetime: int) -> None:
        for seconds in (lifetime, 0):
            try:
                self._call(device.addportmapping, external, "TCP", device.lanaddr, port, _NAME, "", seconds)
            except MappingFailed as failed:
                # Some routers know only mappings that stay; it is renewed and removed like any other.
                if seconds and "Permanent" in str(failed):
                    continue
                raise
            return

    def _unmap(self, external: int) -> None:
        if self._device is not None:
            self._call(self._device.deleteportmapping, external, "TCP", "")

    def _call(self, call: Callable[..., Any], *arguments: object) -> Any:
        try:
            return call(*arguments)
        except MappingFailed:
            raise
        except Exception as error:
            if "HTTP" in str(error):
                # It may have moved: look for it anew.
                self._device = None
            raise MappingFailed(f"the router refused: {error}") from error


async def _in_thread(call: Callable[[], T]) -> T:
    # Not asyncio.to_thread: the end of a loop waits for what that began.
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(set_: Callable[[Any], None], what: object) -> None:
        if not future.done():
            set_(what)

    def run() -> None:
        try:
            outcome: tuple[Callable[[Any], None], object] = (future.set_result, call())
        except MappingFailed as failed:
            outcome = (future.set_exception, failed)
        except Exception as error:  # noqa: BLE001 - whatever the library does must reach who waits
            outcome = (future.set_exception, MappingFailed(f"asking the router failed: {error}"))
        # The loop may be closed by now.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, name="upnp", daemon=True).start()
    return await future


def _miniupnpc() -> ModuleType:
    # It brings no types.
    return importlib.import_module("miniupnpc")
