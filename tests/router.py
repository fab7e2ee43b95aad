"""A small router that gives ports to whom it is asked by: PCP, NAT-PMP and UPnP IGD, as real as the questions need.

In a test it runs on the test's loop (`async with Router(…)`). As a program, `python -m tests.router INSIDE OUTSIDE
SPEAKS…`, it also forwards what it gave, by nft, and prints a JSON line whenever that is another.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from typing import Final, Self, cast

PCP, NATPMP, UPNP = "pcp", "natpmp", "upnp"
_V4: Final = bytes(10) + b"\xff\xff"
_GROUP: Final = "239.255.255.250"
_SSDP: Final = 1900
_SERVICE: Final = "urn:schemas-upnp-org:service:WANIPConnection:1"
_DEVICE: Final = "urn:schemas-upnp-org:device:"
_DESCRIPTION: Final = f"""<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion>
<device><deviceType>{_DEVICE}InternetGatewayDevice:1</deviceType><friendlyName>test</friendlyName><UDN>uuid:1</UDN>
<deviceList><device><deviceType>{_DEVICE}WANDevice:1</deviceType><UDN>uuid:2</UDN>
<deviceList><device><deviceType>{_DEVICE}WANConnectionDevice:1</deviceType><UDN>uuid:3</UDN>
<serviceList><service><serviceType>{_SERVICE}</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
<controlURL>/control</controlURL><eventSubURL>/event</eventSubURL><SCPDURL>/scpd.xml</SCPDURL></service></serviceList>
</device></deviceList></device></deviceList></device></root>"""


class Router:
    """Gives TCP ports at `outside`, by the protocols in `speaks`. `given`: outside port → (host, port) inside."""

    def __init__(
        self, speaks: Iterable[str], *, inside: str = "127.0.0.1", outside: str = "1.2.3.4", port: int = 0
    ) -> None:
        self.speaks = set(speaks)
        self.inside = inside
        self.outside = IPv4Address(outside)
        self.port = port
        self.given: dict[int, tuple[str, int]] = {}
        self.lifetimes: dict[int, int] = {}
        self.nonces: dict[int, bytes] = {}
        self.requests = 0
        self.refusal = 0
        """The result code of PCP and NAT-PMP; 0: it gives."""
        self.taken: set[int] = set()
        """Outside ports that are somebody else's."""
        self.permanent_only = False
        """UPnP: no leases."""
        self.holding: asyncio.Event | None = None
        """Answers wait for this."""
        self.changed: Callable[[], None] = lambda: None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: list[Callable[[], object]] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if self.speaks & {PCP, NATPMP}:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self._datagram), local_addr=(self.inside, self.port)
            )
            self.port = transport.get_extra_info("sockname")[1]
            self._closing.append(transport.close)
        if UPNP in self.speaks:
            server = await asyncio.start_server(self._http, self.inside, 0)
            self._web = server.sockets[0].getsockname()[1]
            self._closing.append(server.close)
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((_GROUP, _SSDP))
            member = socket.inet_aton(_GROUP) + socket.inet_aton(self.inside)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            # Answers leave by a socket that is not bound to the group.
            answering, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(self.inside, 0))
            listening, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(lambda data, sender, _: self._search(data, sender, answering)), sock=sock
            )
            self._closing += [listening.close, answering.close]
        return self

    async def __aexit__(self, *_: object) -> None:
        for close in self._closing:
            close()
        for task in self._tasks:
            task.cancel()
        await asyncio.sleep(0)

    def _give(self, outside: int, host: str, inside: int, lifetime: int) -> int | None:
        # The port given, None when there is none.
        for other, where in list(self.given.items()):
            if where == (host, inside):
                outside = outside or other
                del self.given[other]
                self.lifetimes.pop(other, None)
        if lifetime == 0:
            self.changed()
            return outside
        while outside in self.taken or self.given.get(outside, (host, inside)) != (host, inside):
            outside += 1
        self.given[outside] = (host, inside)
        self.lifetimes[outside] = lifetime
        self.changed()
        return outside

    # --- PCP and NAT-PMP -----------------------------------------------------------------------

    def _datagram(self, data: bytes, sender: tuple[str, int], transport: asyncio.DatagramTransport) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(data, sender, transport))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, data: bytes, sender: tuple[str, int], transport: asyncio.DatagramTransport) -> None:
        if self.holding is not None:
            await self.holding.wait()
        self.requests += 1
        speaks = PCP if data[0] == 2 else NATPMP
        if speaks in self.speaks:
            answer = self._pcp(data, sender[0]) if speaks == PCP else self._natpmp(data, sender[0])
        elif PCP in self.speaks:
            answer = struct.pack("!BBBBII12x", 2, 0x80 | data[1], 0, 1, 0, 7)
        else:
            answer = struct.pack("!BBHI", 0, 0x80 | data[1], 1, 7)
        transport.sendto(answer, sender)

    def _pcp(self, data: bytes, host: str) -> bytes:
        lifetime, nonce = int.from_bytes(data[4:8]), data[24:36]
        inside, wanted = struct.unpack("!HH", data[40:44])
        if len(data) != 60 or data[1] != 1 or data[8:24] != _V4 + IPv4Address(host).packed or data[36] != 6:
            return struct.pack("!BBBBII12x", 2, 0x81, 0, 3, 0, 7) + data[24:]
        result = self.refusal or (2 if self.nonces.get(inside, nonce) != nonce else 0)
        outside = 0
        if not result:
            outside = self._give(wanted, host, inside, lifetime) or 0
            self.nonces[inside] = nonce
        head = struct.pack("!BBBBII12x", 2, 0x81, 0, result, lifetime, 7)
        return head + nonce + struct.pack("!B3xHH", 6, inside, outside) + _V4 + self.outside.packed

    def _natpmp(self, data: bytes, host: str) -> bytes:
        if data[1] == 0:
            return struct.pack("!BBHI", 0, 128, self.refusal, 7) + self.outside.packed
        inside, wanted, lifetime = struct.unpack("!HHI", data[4:12])
        outside = 0 if self.refusal else self._give(wanted, host, inside, lifetime) or 0
        return struct.pack("!BBHIHHI", 0, 130, self.refusal, 7, inside, outside, lifetime)

    # --- UPnP ----------------------------------------------------------------------------------

    def _search(self, data: bytes, sender: tuple[str, int], answering: asyncio.DatagramTransport) -> None:
        wanted = re.search(rb"^ST: *(\S+)", data, re.M | re.I)
        if not data.startswith(b"M-SEARCH") or wanted is None or b"InternetGatewayDevice:1" not in wanted[1]:
            return
        answer = (
            f"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nEXT:\r\nST: {wanted[1].decode()}\r\n"
            f"USN: uuid:1::{wanted[1].decode()}\r\nLOCATION: http://{self.inside}:{self._web}/device.xml\r\n\r\n"
        )
        answering.sendto(answer.encode(), sender)

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            size = re.search(r"^content-length: *(\d+)", head, re.M | re.I)
            body = (await reader.readexactly(int(size[1]))).decode() if size else ""
            host: str = writer.get_extra_info("peername")[0]
            status, answer = (200, _DESCRIPTION) if head.startswith("GET") else self._soap(head, body, host)
            writer.write(
                f"HTTP/1.1 {status} X\r\nContent-Type: text/xml\r\nContent-Length: {len(answer)}\r\n"
                f"Connection: close\r\n\r\n{answer}".encode()
            )
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _soap(self, head: str, body: str, host: str) -> tuple[int, str]:
        self.requests += 1
        named = re.search(r'^soapaction: *"[^"#]*#(\w+)"', head, re.M | re.I)
        action = named[1] if named else ""
        said = dict(re.findall(r"<(New\w+)>([^<]*)</", body))
        if action == "GetStatusInfo":
            return self._said(action, NewConnectionStatus="Connected", NewLastConnectionError="NONE", NewUptime="9")
        if action == "GetExternalIPAddress":
            return self._said(action, NewExternalIPAddress=str(self.outside))
        if action == "AddPortMapping":
            outside, inside = int(said["NewExternalPort"]), int(said["NewInternalPort"])
            lease = int(said["NewLeaseDuration"] or 0)
            if self.permanent_only and lease:
                return self._fault(725, "OnlyPermanentLeasesSupported")
            if outside in self.taken:
                return self._fault(718, "ConflictInMappingEntry")
            assert said["NewProtocol"] == "TCP"
            assert said["NewInternalClient"] == host
            self._give(outside, host, inside, lease or 1 << 31)
            return self._said(action)
        if action == "DeletePortMapping":
            outside = int(said["NewExternalPort"])
            if self.given.pop(outside, None) is None:
                return self._fault(714, "NoSuchEntryInArray")
            self.changed()
            return self._said(action)
        return self._fault(401, "Invalid Action")

    def _said(self, action: str, **values: str) -> tuple[int, str]:
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in values.items())
        return 200, _ENVELOPE.format(f'<u:{action}Response xmlns:u="{_SERVICE}">{inner}</u:{action}Response>')

    def _fault(self, code: int, text: str) -> tuple[int, str]:
        detail = (
            f'<detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>{code}</errorCode>'
            f"<errorDescription>{text}</errorDescription></UPnPError></detail>"
        )
        fault = f"<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring>{detail}</s:Fault>"
        return 500, _ENVELOPE.format(fault)


_ENVELOPE: Final = (
    '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
    's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>{}</s:Body></s:Envelope>'
)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes, tuple[str, int], asyncio.DatagramTransport], None]) -> None:
        self._take = take

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, sender: tuple[str, int]) -> None:
        self._take(data, sender, self._transport)


def forward(router: Router) -> None:
    """Makes the kernel forward what the router gave, and says it."""
    rules = "".join(
        f"ip daddr {router.outside} tcp dport {outside} dnat ip to {host}:{inside}\n"
        for outside, (host, inside) in router.given.items()
    )
    subprocess.run(
        ["nft", "-f", "-"],
        input=f"""table ip given {{}}
            delete table ip given
            table ip given {{
                chain prerouting {{ type nat hook prerouting priority -110; {rules} }}
            }}""",
        text=True,
        check=True,
    )
    print(json.dumps({"given": router.given, "requests": router.requests}), flush=True)


async def main(inside: str, outside: str, *speaks: str) -> None:
    """Runs until standard input ends. The firewall must let through what it forwards: `ct status dnat accept`."""
    async with Router(speaks, inside=inside, outside=outside, port=5351) as router:
        router.changed = lambda: forward(router)
        router.changed()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
