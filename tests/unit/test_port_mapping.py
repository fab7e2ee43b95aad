"""Ports that a router forwards: what is asked of it, what is believed of its answers, and that all is given back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.router import NATPMP, PCP, Router
from tests.unit.nodes import until
from towpath.host.port_mapping import Mapped, PortMapping
from towpath.host.port_mapping.gateway import gateway_in
from towpath.host.port_mapping.messages import (
    BadAnswer,
    read_natpmp_address,
    read_natpmp_map,
    read_pcp_map,
)
from towpath.host.port_mapping.methods import MappingFailed, Method, NatPmp, Pcp

HERE = IPv4Address("127.0.0.1")
SECRET = b"s" * 32
NONCE = b"n" * 12


@dataclass
class World:
    """A router, and a node behind it."""

    router: Router
    ports: list[int] = field(default_factory=lambda: [4001])
    told: list[tuple[int, ...]] = field(default_factory=list)

    def methods(self) -> Sequence[Method]:
        return [Pcp(HERE, SECRET, port=self.router.port), NatPmp(HERE, port=self.router.port)]

    @contextlib.asynccontextmanager
    async def mapping(self) -> AsyncIterator[PortMapping]:
        mapping = PortMapping(lambda: self.ports, lambda: None, self.methods)
        mapping.start()
        try:
            yield mapping
        finally:
            await mapping.stop()


@contextlib.asynccontextmanager
async def world(*speaks: str) -> AsyncIterator[World]:
    async with Router(speaks) as router:
        yield World(router)


@pytest.mark.parametrize(("speaks", "name"), [(PCP, "PCP"), (NATPMP, "NAT-PMP")])
async def test_a_port_is_mapped_and_given_back(speaks: str, name: str) -> None:
    async with world(speaks) as found:
        async with found.mapping() as mapping:
            await mapping.asked(5)
            assert mapping.mapped == (Mapped(name, 4001, IPv4Address("1.2.3.4"), 4001, 1200),)
            assert mapping.sentence == f"the router forwards to this machine ({name})"
            assert found.router.given == {4001: ("127.0.0.1", 4001)}
            assert found.router.lifetimes == {4001: 1200}
        assert found.router.given == {}
        assert not mapping.mapped


async def test_both_are_spoken_by_the_better_one() -> None:
    async with world(PCP, NATPMP) as found, found.mapping() as mapping:
        await mapping.asked(5)
        assert [each.method for each in mapping.mapped] == ["PCP"]


@pytest.mark.parametrize("speaks", [PCP, NATPMP])
async def test_a_taken_port_becomes_another_and_stays_it(speaks: str) -> None:
    async with world(speaks) as found, found.mapping() as mapping:
        found.router.taken = {4001}
        await mapping.asked(5)
        assert [each.external_port for each in mapping.mapped] == [4002]
        found.router.taken = set()
        asked = found.router.requests
        mapping.look_again()
        await until(lambda: found.router.requests > asked + (speaks == NATPMP))
        assert found.router.given == {4002: ("127.0.0.1", 4001)}


async def test_other_ports_are_mapped_in_place_of_those_before() -> None:
    async with world(PCP) as found, found.mapping() as mapping:
        await mapping.asked(5)
        found.ports = [5001, 5002]
        mapping.look_again()
        await until(lambda: set(found.router.given) == {5001, 5002})
        found.ports = []
        mapping.look_again()
        await until(lambda: mapping.mapped == ())
        assert found.router.given == {}
        assert mapping.sentence == "no port needs the router"


async def test_another_address_outside_is_noticed_when_it_is_renewed() -> None:
    async with world(NATPMP) as found, found.mapping() as mapping:
        await mapping.asked(5)
        found.router.outside = IPv4Address("5.6.7.8")
        mapping.look_again()
        await until(lambda: [str(each.external_ip) for each in mapping.mapped] == ["5.6.7.8"])


async def test_a_router_that_stops_giving_is_noticed_when_it_is_renewed() -> None:
    async with world(PCP) as found, found.mapping() as mapping:
        await mapping.asked(5)
        found.router.refusal = 8
        mapping.look_again()
        await until(lambda: mapping.mapped == ())
        assert "it has no room for more" in mapping.sentence


async def test_a_router_that_forbids_it_is_quoted() -> None:
    async with world(PCP) as found:
        found.router.refusal = 2
        async with found.mapping() as mapping:
            await mapping.asked(5)
            assert not mapping.mapped
            assert mapping.sentence == (
                "the router forwards no port: PCP: the router refused: its owner forbids mappings; "
                "NAT-PMP: the router does not speak it"
            )


async def test_without_a_router_nobody_is_asked() -> None:
    mapping = PortMapping(lambda: [4001], lambda: None, list)
    mapping.start()
    await mapping.asked(5)
    assert mapping.sentence == "there is no router to ask: this machine has no IPv4 default route"
    await mapping.stop()


async def test_a_machine_that_speaks_none_of_it_says_so_at_once() -> None:
    async with Router([PCP]) as gone:
        port = gone.port
    with pytest.raises(MappingFailed, match="does not speak it"):
        await Pcp(HERE, SECRET, port=port).map(4001, 4001, 1200)


async def test_what_comes_after_the_node_began_to_end_is_given_back() -> None:
    async with world(PCP) as found:
        found.router.holding = asyncio.Event()
        mapping = PortMapping(lambda: [4001], lambda: None, found.methods)
        mapping.start()
        await asyncio.sleep(0.05)
        ending = asyncio.create_task(mapping.stop())
        await asyncio.sleep(0.05)
        found.router.holding.set()
        await ending
        assert found.router.requests >= 2
        assert found.router.given == {}


async def test_a_node_that_died_finds_its_mapping_again() -> None:
    async with world(PCP) as found:
        dead = found.methods()[0]
        await dead.map(4001, 4001, 1200)
        async with found.mapping() as mapping:
            await mapping.asked(5)
            assert [each.method for each in mapping.mapped] == ["PCP"]
        assert found.router.given == {}
        with pytest.raises(MappingFailed, match="forbids"):
            await Pcp(HERE, b"x" * 32, port=found.router.port).map(4001, 4001, 1200)


# --- answers -------------------------------------------------------------------------------------------------------

ADDRESS = bytes.fromhex("0080000000000007") + IPv4Address("1.2.3.4").packed
MAP = bytes.fromhex("0082000000000007") + bytes.fromhex("0fa1 0fa2 000004b0")
PCP_MAP = (
    bytes.fromhex("02810000 000004b0 00000007") + bytes(12) + NONCE + bytes.fromhex("06000000 0fa1 0fa2")
    + bytes(10) + b"\xff\xff" + IPv4Address("1.2.3.4").packed
)  # fmt: skip


def test_the_forms_of_the_standards_are_understood() -> None:
    assert read_natpmp_address(ADDRESS) == IPv4Address("1.2.3.4")
    assert read_natpmp_map(MAP, 4001) == (4002, 1200, None)
    assert read_pcp_map(PCP_MAP, NONCE, 4001) == (4002, 1200, IPv4Address("1.2.3.4"))


@pytest.mark.parametrize(
    ("read", "result"),
    [
        (lambda: read_natpmp_map(MAP, 4000), None),
        (lambda: read_natpmp_map(ADDRESS, 4001), None),
        (lambda: read_natpmp_address(MAP), None),
        (lambda: read_pcp_map(PCP_MAP, b"x" * 12, 4001), None),
        (lambda: read_pcp_map(PCP_MAP, NONCE, 4000), None),
        (lambda: read_pcp_map(PCP_MAP[:44] + bytes(16), NONCE, 4001), None),
        (lambda: read_pcp_map(MAP, NONCE, 4001), 1),
        (lambda: read_natpmp_map(PCP_MAP, 4001), 1),
        (lambda: read_natpmp_map(MAP[:2] + b"\0\2" + MAP[4:], 4001), 2),
        (lambda: read_pcp_map(PCP_MAP[:3] + b"\x0d" + PCP_MAP[4:], NONCE, 4001), 13),
    ],
)
def test_other_answers_are_none(read: object, result: int | None) -> None:
    assert callable(read)
    with pytest.raises(BadAnswer) as caught:
        read()
    assert caught.value.result == result


@given(st.one_of(st.binary(max_size=70), st.builds(bytes.__add__, st.just(PCP_MAP[:3]), st.binary(max_size=70))))
def test_no_answer_breaks_the_readers(data: bytes) -> None:
    for read in (
        lambda: read_natpmp_address(data),
        lambda: read_natpmp_map(data, 4001),
        lambda: read_pcp_map(data, NONCE, 4001),
    ):
        with contextlib.suppress(BadAnswer):
            read()


@given(st.integers(0, len(PCP_MAP) - 1))
def test_a_cut_answer_is_none(at: int) -> None:
    with pytest.raises(BadAnswer):
        read_pcp_map(PCP_MAP[:at], NONCE, 4001)
    for whole, read in ((ADDRESS, read_natpmp_address), (MAP, lambda data: read_natpmp_map(data, 4001))):
        if at < len(whole):
            with pytest.raises(BadAnswer):
                read(whole[:at])


# --- the default route ---------------------------------------------------------------------------------------------

HEADER = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


def test_the_router_is_the_default_route_of_the_least_metric() -> None:
    table = HEADER + (
        "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
        "eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
        "eth0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
        "tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n"
    )
    assert gateway_in(table) == IPv4Address("10.0.0.1")


def test_a_machine_may_have_no_router() -> None:
    assert gateway_in(HEADER) is None
    assert gateway_in("") is None
