"""UPnP against a router on the same host, in a namespace of its own: multicast finds it, SOAP asks it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import pytest

from tests.net.lab import Lab
from tests.router import UPNP, Router
from towpath.host.port_mapping.methods import Mapped, MappingFailed, Upnp

HERE = "10.9.9.1"
DISCOVERY_MS = 300


@pytest.fixture
def network() -> Iterator[None]:
    """The test runs on a host with one interface, on which a multicast comes back."""
    with Lab() as lab:
        host = lab.host("alone")
        host.ip(
            "link add lan type veth peer name far",
            "link set far up",
            f"address add {HERE}/24 dev lan",
            "link set lan multicast on up",
            "route add default dev lan",
        )
        with host.inside():
            yield


@pytest.mark.usefixtures("network")
async def test_a_port_is_given_renewed_and_taken_back() -> None:
    async with Router([UPNP], inside=HERE, outside="1.2.3.4") as router:
        upnp = Upnp(discovery_ms=DISCOVERY_MS)
        mapped = await upnp.map(4001, 4001, 1200)
        assert mapped == Mapped("UPnP", 4001, ipaddress.IPv4Address("1.2.3.4"), 4001, 1200)
        assert await upnp.map(4001, 4001, 1200) == mapped
        assert (router.given, router.lifetimes) == ({4001: (HERE, 4001)}, {4001: 1200})
        await upnp.unmap(mapped)
        assert router.given == {}


@pytest.mark.usefixtures("network")
async def test_a_taken_port_becomes_the_next_free_one() -> None:
    async with Router([UPNP], inside=HERE) as router:
        router.taken = {4001, 4002}
        mapped = await Upnp(discovery_ms=DISCOVERY_MS).map(4001, 4001, 1200)
        assert mapped.external_port == 4003
        router.taken = set(range(4001, 4100))
        with pytest.raises(MappingFailed, match="to another machine"):
            await Upnp(discovery_ms=DISCOVERY_MS).map(4001, 4001, 1200)


@pytest.mark.usefixtures("network")
async def test_a_router_without_leases_gives_a_port_that_is_taken_back_all_the_same() -> None:
    async with Router([UPNP], inside=HERE) as router:
        router.permanent_only = True
        upnp = Upnp(discovery_ms=DISCOVERY_MS)
        mapped = await upnp.map(4001, 4001, 1200)
        assert router.given == {4001: (HERE, 4001)}
        await upnp.unmap(mapped)
        assert router.given == {}


@pytest.mark.usefixtures("network")
async def test_where_no_router_answers_that_is_said() -> None:
    with pytest.raises(MappingFailed, match="no router answers"):
        await Upnp(discovery_ms=DISCOVERY_MS).map(4001, 4001, 1200)


@pytest.mark.usefixtures("network")
async def test_a_router_that_is_gone_is_looked_for_anew() -> None:
    upnp = Upnp(discovery_ms=DISCOVERY_MS)
    async with Router([UPNP], inside=HERE):
        await upnp.map(4001, 4001, 1200)
    with pytest.raises(MappingFailed):
        await upnp.map(4001, 4001, 1200)
    async with Router([UPNP], inside=HERE) as other:
        await upnp.map(4001, 4001, 1200)
        assert other.given == {4001: (HERE, 4001)}
