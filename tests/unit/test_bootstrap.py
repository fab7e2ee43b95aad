"""Bootstrap relays: names that stand for several, what they must not lead to, and how many circuits needed them."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping, Sequence
from typing import cast

import pytest

from tests.unit.relays import identity, relay_id
from towpath.addresses import dnsaddr as name_of
from towpath.addresses import peer_id_to_text
from towpath.discovery import dnsaddr
from towpath.discovery.bootstrap import Bootstrap, Share
from towpath.errors import AddressError, DialError, SettingsError
from towpath.internet import PublicAddresses
from towpath.settings import Settings
from towpath.store import Store

PUBLIC = PublicAddresses()


def at(number: int, ip: str = "9.9.9.9", port: int = 4001) -> str:
    family = "ip6" if ":" in ip else "ip4"
    return f"/{family}/{ip}/tcp/{port}/p2p/{identity(number).text}"


class Names:
    """A name server for `/dnsaddr`: texts by name, and which names were asked."""

    def __init__(self, **texts: Sequence[str]) -> None:
        self.texts: Mapping[str, Sequence[str]] = {name.replace("_", "."): told for name, told in texts.items()}
        self.asked: list[str] = []

    async def __call__(self, name: str) -> list[bytes]:
        self.asked.append(name)
        assert name.startswith("_dnsaddr.")
        told = self.texts.get(name.removeprefix("_dnsaddr."))
        if told is None:
            raise DialError(f"there is no {name}")
        return [text.encode() for text in told]


async def resolved(text: str, names: Names, public: PublicAddresses = PUBLIC) -> list[str]:
    return [str(address) for address in await dnsaddr.resolve(text, public, names)]


async def test_a_name_stands_for_the_addresses_it_tells() -> None:
    names = Names(boot_org=[f"dnsaddr={at(1)}", f"dnsaddr={at(2, '2600::1')}", "v=spf1 -all", "dnsaddr=nonsense"])
    assert await resolved("/dnsaddr/boot.org", names) == [at(1), at(2, "2600::1")]


async def test_an_id_behind_the_name_picks_its_addresses_alone() -> None:
    names = Names(boot_org=[f"dnsaddr={at(1)}", f"dnsaddr={at(2, '8.8.8.8')}"])
    assert await resolved(f"/dnsaddr/boot.org/p2p/{identity(2).text}", names) == [at(2, "8.8.8.8")]
    with pytest.raises(AddressError, match="nothing public"):
        await resolved(f"/dnsaddr/boot.org/p2p/{identity(3).text}", names)


async def test_names_that_lead_to_names_are_followed_and_never_in_a_circle() -> None:
    names = Names(
        boot_org=["dnsaddr=/dnsaddr/a.boot.org", f"dnsaddr=/dnsaddr/b.boot.org/p2p/{identity(2).text}"],
        a_boot_org=[f"dnsaddr={at(1)}", "dnsaddr=/dnsaddr/boot.org", "dnsaddr=/dnsaddr/a.boot.org"],
        b_boot_org=[f"dnsaddr={at(2, '8.8.8.8')}"],
    )
    assert await resolved("/dnsaddr/boot.org", names) == [at(1), at(2, "8.8.8.8")]
    assert len(names.asked) == 3
    picked = Names(**{name.replace(".", "_"): told for name, told in names.texts.items()})
    assert await resolved(f"/dnsaddr/boot.org/p2p/{identity(1).text}", picked) == [at(1)]
    assert "_dnsaddr.b.boot.org" not in picked.asked


async def test_a_name_never_leads_into_a_private_network_unless_a_laboratory_says_so() -> None:
    private = ["10.1.2.3", "192.168.0.1", "127.0.0.1", "169.254.1.1", "::1", "fd00::1", "fe80::1", "100.64.0.1",
               "0.0.0.0", "203.0.113.9", "224.0.0.1", "::ffff:10.0.0.1"]  # fmt: skip
    names = Names(boot_org=[f"dnsaddr={at(n, ip)}" for n, ip in enumerate(private)])
    with pytest.raises(AddressError, match="nothing public"):
        await resolved("/dnsaddr/boot.org", names)
    laboratory = PublicAddresses(["203.0.113.0/24"])
    assert await resolved("/dnsaddr/boot.org", names, laboratory) == [at(9, "203.0.113.9")]


async def test_a_host_name_behind_a_name_is_resolved_at_once_and_its_address_must_be_public_too() -> None:
    names = Names(boot_org=[f"dnsaddr=/dns4/localhost/tcp/4001/p2p/{identity(1).text}"])
    with pytest.raises(AddressError):
        await resolved("/dnsaddr/boot.org", names)
    loopback = PublicAddresses(["127.0.0.0/8"])
    assert await resolved("/dnsaddr/boot.org", names, loopback) == [at(1, "127.0.0.1")]


async def test_what_a_name_server_says_is_bounded() -> None:
    # More names than may be asked, each of which leads to more; more addresses than are kept.
    many = {f"n{n}_org": [f"dnsaddr=/dnsaddr/n{n * 8 + k}.org" for k in range(8)] for n in range(200)}
    names = Names(**many)
    with pytest.raises(AddressError):
        await resolved("/dnsaddr/n1.org", names)
    assert len(names.asked) <= 16
    crowd = Names(boot_org=[f"dnsaddr={at(1, '9.9.9.9', port)}" for port in range(1, 1000)])
    assert len(await resolved("/dnsaddr/boot.org", crowd)) <= 32


async def test_a_relay_over_another_transport_or_without_an_id_is_passed_over() -> None:
    told = [f"/ip4/9.9.9.9/udp/4001/quic-v1/p2p/{identity(1).text}", "/ip4/9.9.9.9/tcp/4001",
            f"{at(1)}/p2p-circuit/p2p/{identity(2).text}", at(3)]  # fmt: skip
    names = Names(boot_org=[f"dnsaddr={text}" for text in told])
    assert await resolved("/dnsaddr/boot.org", names) == [at(3)]


async def test_bootstrap_relays_are_found_under_their_ids_and_names_that_fail_leave_the_others() -> None:
    names = Names(boot_org=[f"dnsaddr={at(3, '8.8.8.8')}"])
    entries = [at(1), at(1, "192.168.1.1"), at(2), "/dnsaddr/boot.org", "/dnsaddr/gone.org"]
    boot = Bootstrap(lambda: entries, lambda: PUBLIC, own={relay_id(2)}, look_up=names)
    assert boot.ids == {relay_id(1)}
    found = {one.relay_id: one.addresses async for one in boot.search()}
    # What its owner wrote into the settings may be private.
    assert found == {relay_id(1): (at(1), at(1, "192.168.1.1")), relay_id(3): (at(3, "8.8.8.8"),)}
    assert boot.ids == {relay_id(1), relay_id(3)}
    assert await boot.addresses() == [at(1), at(1, "192.168.1.1"), at(3, "8.8.8.8")]
    assert names.asked.count("_dnsaddr.boot.org") == 1, "an answer is good for some minutes"
    entries[:] = [at(4)]
    assert boot.ids == {relay_id(4)}


def test_the_share_counts_a_week_and_survives() -> None:
    now = [86400.0 * 20_000]
    share = Share(clock=lambda: now[0])
    assert share.share is None
    for needed in (True, True, False, False):
        share.count(needed)
    assert share.share == 0.5
    now[0] += 6 * 86400
    share.count(False)
    assert share.share == 0.4
    now[0] += 86400
    assert share.share == 0.0
    now[0] += 7 * 86400
    assert share.share is None


async def test_the_share_is_kept_in_the_store_and_damage_is_nothing() -> None:
    store = await Store.open(None)
    now = 86400.0 * 20_000
    Share(store, lambda: now).count(True)
    assert Share(store, lambda: now).share == 1.0
    store.put("bootstrap_share", [[1], "x", [20_000, 1, 4], [1, 2, "3"]])
    assert Share(store, lambda: now).share == 0.25
    await store.close()


def test_settings_take_names_and_say_what_is_wrong_with_others() -> None:
    text = f"/dnsaddr/boot.org/p2p/{identity(1).text}"
    settings = Settings.load({"discovery.bootstrap": ["/dnsaddr/boot.org", text, at(1)]}, environ={})
    assert settings.discovery.bootstrap == ("/dnsaddr/boot.org", text, at(1))
    for wrong in ("/dnsaddr", "/dnsaddr/boot.org/tcp/1", "/ip4/9.9.9.9/tcp/1", f"/dnsaddr/a/p2p/{'x' * 9}"):
        with pytest.raises(SettingsError, match=r"discovery\.bootstrap"):
            Settings.load({"discovery.bootstrap": [wrong]}, environ={})
    assert name_of(at(1)) is None
    assert name_of(text) == ("boot.org", relay_id(1))
    assert peer_id_to_text(relay_id(1)) == identity(1).text


class NameServer(asyncio.DatagramProtocol):
    """Answers TXT questions for one name over UDP, in DNS's own form, and refuses others as not known."""

    def __init__(self, name: str, texts: Sequence[bytes]) -> None:
        self.question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
        self.texts = texts
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        end = data.index(b"\0", 12) + 5
        known = data[12 : end - 4].lower() == self.question
        answers = b""
        for text in self.texts if known else ():
            answers += b"\xc0\x0c" + struct.pack(">HHIH", 16, 1, 60, len(text) + 1) + bytes([len(text)]) + text
        header = data[:2] + struct.pack(">HHHHH", 0x8180 if known else 0x8183, 1, len(self.texts) * known, 0, 0)
        self.transport.sendto(header + data[12:end] + answers, addr)


async def test_name_servers_are_asked_in_their_own_language(monkeypatch: pytest.MonkeyPatch) -> None:
    import aiodns

    loop = asyncio.get_running_loop()
    texts = [f"dnsaddr={at(1)}".encode(), f"dnsaddr={at(2, '8.8.8.8')}".encode()]
    transport, _ = await loop.create_datagram_endpoint(
        lambda: NameServer("_dnsaddr.boot.org", texts), local_addr=("127.0.0.1", 0)
    )
    host, port = transport.get_extra_info("sockname")
    resolver = aiodns.DNSResolver
    monkeypatch.setattr(aiodns, "DNSResolver", lambda **given: resolver([f"{host}:{port}"], **given))
    try:
        assert sorted(await dnsaddr.look_up("_dnsaddr.boot.org")) == sorted(texts)
        with pytest.raises(DialError, match=r"nothing for _dnsaddr\.gone\.org"):
            await dnsaddr.look_up("_dnsaddr.gone.org")
        assert await resolved("/dnsaddr/boot.org", dnsaddr.look_up) == [at(1), at(2, "8.8.8.8")]  # type: ignore[arg-type]
    finally:
        transport.close()


def test_public_is_what_the_internet_routes() -> None:
    for host in ("9.9.9.9", "2600::1"):
        assert host in PUBLIC
    for host in ("a.b", "", "10.0.0.1", "::", "ff02::1", "::ffff:9.9.9.9", "64:ff9b::a00:1", "2002:a00:1::1"):
        assert host not in PUBLIC, host
