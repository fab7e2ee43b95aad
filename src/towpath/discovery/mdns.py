"""The local network: relays that announce themselves by mDNS, and our own announcement while we relay.

Source: libp2p specs, discovery/mdns.md: an instance of `_p2p._udp.local` with a random name, its addresses in TXT
strings `dnsaddr=/ip4/…/p2p/ID`. Anybody may be there, relay or not, and may say anything: ids are proven when they are
dialed, and identify tells who relays. Only the relay identity is announced; a node that does not relay only asks, and
has a socket only while it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import ipaddress
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Final

from towpath.addresses import parse
from towpath.discovery import dnsaddr
from towpath.discovery.candidates import Found, usable_addresses
from towpath.errors import AddressError, DialError
from towpath.log import get_logger

if TYPE_CHECKING:
    from zeroconf import RecordUpdateListener
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

__all__ = ["SERVICE", "Mdns", "announced", "found_in", "strings"]

SERVICE: Final = "_p2p._udp.local."
LISTEN_S: Final = 1.5
"""How long answers are waited for; the specification lets them take half a second, and some are lost."""
MOST: Final = 128
_ANNOUNCED: Final = 8
_MAX_STRING: Final = 255
_PORT: Final = 4001
_log = get_logger("discovery")


def announced(addresses: Sequence[str]) -> list[bytes]:
    """The TXT strings for a relay's listening addresses (texts that end in /p2p/ID).

    IP addresses only; those of the loopback only when there are no others.
    """
    near: list[bytes] = []
    here: list[bytes] = []
    for text in addresses:
        address = parse(text)
        if address.family not in ("ip4", "ip6") or address.circuit:
            continue
        string = f"dnsaddr={text}".encode()
        if len(string) <= _MAX_STRING:
            (here if ipaddress.ip_address(address.host).is_loopback else near).append(string)
    return (near or here)[:_ANNOUNCED]


def found_in(texts: Sequence[bytes]) -> list[Found]:
    """The peers that some TXT strings tell of; IP addresses only, none of which is sent to many at once."""
    by_id: dict[bytes, list[str]] = {}
    for text in dnsaddr.read(texts):
        try:
            peer_id = parse(text).peer_id
        except AddressError:
            continue
        if peer_id is not None:
            by_id.setdefault(peer_id, []).append(text)
    found = []
    for peer_id, told in by_id.items():
        addresses = usable_addresses(peer_id, told, _somewhere)
        if addresses:
            found.append(Found(peer_id, addresses, "mdns", relays=False))
    return found


def _somewhere(host: str) -> bool:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not (ip.is_multicast or ip.is_unspecified or ip.is_reserved or host == "255.255.255.255")


class Mdns:
    """mDNS of one node. A Source; `close` ends it. Errors of the network end a search, and are logged otherwise."""

    name: Final = "mdns"

    def __init__(self, *, listen_s: float = LISTEN_S) -> None:
        self._listen_s = listen_s
        self._zeroconf: AsyncZeroconf | None = None
        self._users = 0
        self._wanted: list[bytes] = []
        self._announced: list[bytes] = []
        self._applying: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def search(self) -> AsyncGenerator[Found]:
        """See Source. `relays` is False of all: their identify must tell."""
        told: set[tuple[bytes, tuple[str, ...]]] = set()
        async with self._running() as zeroconf, _Browsing(zeroconf) as browsing:
            until = asyncio.get_running_loop().time() + self._listen_s
            while True:
                for found in browsing.found():
                    if found[:2] not in told and len(told) < MOST:
                        told.add(found[:2])
                        yield found
                try:
                    async with asyncio.timeout_at(until):
                        await browsing.changed()
                except TimeoutError:
                    return

    async def announce(self, addresses: Sequence[str]) -> None:
        """Tells the neighbours of the relay identity at these addresses (texts that end in /p2p/ID), and of no other.

        An empty list takes the announcement back. Does nothing when it stands already. What was begun is finished even
        if the caller is cancelled.
        """
        self._wanted = announced(addresses)
        if self._applying is None or self._applying.done():
            self._applying = asyncio.create_task(self._apply(), name="mdns announcement")
        await asyncio.shield(self._applying)

    async def withdraw(self) -> None:
        """Takes the announcement back; neighbours are told."""
        await self.announce(())

    async def close(self) -> None:
        """Takes the announcement back and closes every socket; searches must have ended before."""
        await self.withdraw()
        await asyncio.gather(*self._closing)

    async def _apply(self) -> None:
        failed: list[bytes] | None = None
        while self._wanted not in (self._announced, failed):
            wanted = self._wanted
            try:
                await self._withdraw()
                if wanted:
                    await self._announce(wanted)
            except (OSError, DialError) as error:
                _log.warning("mdns_not_announced", error=str(error))
                failed = wanted

    async def _announce(self, strings: list[bytes]) -> None:
        hosts = [parse(text[len(b"dnsaddr=") :].decode()).host for text in strings]
        label = secrets.token_hex(16)  # random: a name would tell who we are from one network to the next
        zeroconf = await self._open()
        try:
            from zeroconf.asyncio import AsyncServiceInfo

            info = AsyncServiceInfo(
                SERVICE,
                f"{label}.{SERVICE}",
                port=_PORT,
                properties=b"".join(bytes([len(string)]) + string for string in strings),
                server=f"{label}.local.",
                parsed_addresses=list(dict.fromkeys(hosts)),
            )
            # The name is random, so that nobody need be asked whether it is taken.
            await zeroconf.async_register_service(info, cooperating_responders=True)
        except BaseException:
            await self._leave()
            raise
        self._announced = strings
        _log.info("mdns_announced", addresses=len(strings))

    async def _withdraw(self) -> None:
        if self._announced:
            self._announced = []
            try:
                if self._zeroconf is not None:
                    await self._zeroconf.async_unregister_all_services()
            finally:
                await self._leave()

    @contextlib.asynccontextmanager
    async def _running(self) -> AsyncIterator[AsyncZeroconf]:
        zeroconf = await self._open()
        try:
            yield zeroconf
        finally:
            await self._leave()

    async def _open(self) -> AsyncZeroconf:
        # Loaded by who needs it: it costs 6 MiB, and 40 ms that circuits need not wait for.
        await asyncio.to_thread(importlib.import_module, "zeroconf.asyncio")
        from zeroconf import InterfaceChoice, IPVersion
        from zeroconf.asyncio import AsyncZeroconf

        if self._zeroconf is None:
            # It warns of every interface that cannot multicast, such as the loopback.
            logging.getLogger("zeroconf").setLevel(logging.ERROR)
            try:
                self._zeroconf = AsyncZeroconf(InterfaceChoice.All, ip_version=IPVersion.All)
            except OSError:
                # Without IPv6, wholly or on some interface.
                self._zeroconf = AsyncZeroconf(InterfaceChoice.All, ip_version=IPVersion.V4Only)
            except RuntimeError as error:
                raise DialError(f"there is no network interface to look for neighbours on: {error}") from error
        self._users += 1
        return self._zeroconf

    async def _leave(self) -> None:
        self._users -= 1
        if not self._users and self._zeroconf is not None:
            # To its end, whoever is cancelled: a socket left open would outlive us.
            closing = asyncio.create_task(self._zeroconf.async_close(), name="mdns closing")
            self._zeroconf = None
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            await asyncio.shield(closing)


class _Browsing:
    """One question to the neighbours, asked again as long as it lasts, and what they answer."""

    def __init__(self, zeroconf: AsyncZeroconf) -> None:
        self._zeroconf = zeroconf
        self._changed = asyncio.Event()
        self._changed.set()
        self._browser: AsyncServiceBrowser | None = None
        self._listener: RecordUpdateListener | None = None

    async def __aenter__(self) -> _Browsing:
        from zeroconf import DNSQuestionType
        from zeroconf.asyncio import AsyncServiceBrowser

        self._listener = _listener(self._changed.set)
        self._zeroconf.zeroconf.async_add_listener(self._listener, None)
        # Answers to all: one sent to this host alone might end in another process that listens to mDNS here.
        self._browser = AsyncServiceBrowser(
            self._zeroconf.zeroconf, SERVICE, handlers=[_ignore], question_type=DNSQuestionType.QM
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._browser is not None:
            await self._browser.async_cancel()
        if self._listener is not None:
            self._zeroconf.zeroconf.async_remove_listener(self._listener)

    async def changed(self) -> None:
        """Returns when somebody answered since the last time."""
        await self._changed.wait()

    def found(self) -> list[Found]:
        """The peers that are there, as far as they have answered."""
        # Not through ServiceInfo: it waits for SRV records, which rust-libp2p does not send, and takes one TXT record
        # of several.
        from zeroconf.const import _CLASS_IN, _TYPE_PTR, _TYPE_TXT

        self._changed.clear()
        cache = self._zeroconf.zeroconf.cache
        texts: list[Found] = []
        for pointer in cache.async_all_by_details(SERVICE, _TYPE_PTR, _CLASS_IN)[:MOST]:
            name = getattr(pointer, "alias", "")
            records = cache.async_all_by_details(name, _TYPE_TXT, _CLASS_IN)
            texts += found_in([string for record in records for string in strings(getattr(record, "text", b""))])
        return texts


def _listener(changed: Callable[[], None]) -> RecordUpdateListener:
    from zeroconf import RecordUpdateListener

    class Listener(RecordUpdateListener):
        def async_update_records(self, *_: object) -> None:
            return

        def async_update_records_complete(self) -> None:
            changed()

    return Listener()


def _ignore(**_: object) -> None:
    return


def strings(data: bytes) -> list[bytes]:
    """The strings of a TXT record, each behind its length; what is cut off is left out."""
    found = []
    at = 0
    while at < len(data):
        size = data[at]
        if at + 1 + size > len(data):
            break
        found.append(data[at + 1 : at + 1 + size])
        at += 1 + size
    return found
