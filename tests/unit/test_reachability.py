"""A node finds out whether others reach it, says it in a sentence, and serves others who ask; on loopback addresses
of which some count as public."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.nodes import loaded, until
from towpath import Node, Settings
from towpath._native.endpoint import Endpoint
from towpath._native.reactor import Reactor
from towpath.addresses import to_text
from towpath.reachability import Reachability, serving
from towpath.reachability.networks import Place
from towpath.reachability.policy import Candidate, Origin, Server, State, Vote
from towpath.reachability.words import Finding, Known, sentence

PUBLIC = [f"127.{n}.0.0/16" for n in range(1, 10)]
"""The networks of loopback that count as public; 127.0.0.1, from which everybody dials, does not."""


PATIENCE = 30
"""Seconds."""


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers wait before they dial, as ever, but not for seconds."""
    monkeypatch.setattr(serving, "_WAIT_MS", 100)


def settings(number: int, **more: Any) -> Settings:
    """Those of a relay at 127.number.0.1."""
    given = {
        "relay.mode": "dedicated",
        "network.listen": [f"/ip4/127.{number}.0.1/tcp/0"],
        "network.public_ranges": PUBLIC,
        "network.port_mapping": False,
        "relay.drain_grace": "0s",
    }
    return loaded(given, more)


@contextlib.asynccontextmanager
async def servers(count: int) -> AsyncIterator[list[Node]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Node(settings(1 + n))) for n in range(count)]


def names(nodes: list[Node]) -> list[str]:
    return [node.listen_addresses[0] for node in nodes]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
async def test_the_majority_of_up_to_three_servers_confirms_an_address(count: int) -> None:
    async with servers(count) as others, Node(settings(9, discovery__bootstrap=names(others))) as node:
        told: list[dict[str, Any]] = []

        async def follow() -> None:
            async for event in node.events.subscribe():
                told.append(event)

        following = asyncio.create_task(follow())
        assert node.status()["reachability"] == "unknown"
        await until(lambda: node.status()["reachability"] == "reachable", PATIENCE)
        report = await node.check()
        following.cancel()
        assert report["state"] == "reachable"
        (row,) = report["addresses"]
        assert (row["origin"], row["reached"]) == ("own", True)
        asked = min(count, 3)
        assert sorted(said["answer"] for said in row["answers"])[:asked] == ["connected"] * asked
        assert len({said["server"] for said in row["answers"]}) == asked
        heard = "the one server that was asked connected" if asked == 1 else f"{asked} of {asked} servers connected"
        assert report["sentence"] == f"Reachable at {row['address']}: {heard}."
        assert [e["state"] for e in told if e["kind"] == "reachability"] == ["reachable"]
        assert [to_text(address) for address in node._reachability.confirmed] == [row["address"]]


async def test_nobody_to_ask_is_not_unreachable() -> None:
    async with Node(settings(9)) as node:
        report = await node.check()
        assert (report["state"], report["servers"]) == ("unknown", 0)
        assert "there is nobody to ask yet" in report["sentence"]
        assert [row["reached"] for row in report["addresses"]] == [None]


async def test_servers_that_are_named_later_are_asked_then() -> None:
    async with Node(settings(9)) as node, servers(2) as others:
        await node.check()
        await node.change_settings({"discovery.bootstrap": names(others)}, persist=False)
        await until(lambda: node.status()["reachability"] == "reachable", PATIENCE)


async def test_an_announced_address_counts_and_needs_nobody() -> None:
    async with Node(settings(9, network__announce=["/dns4/relay.example.net/tcp/4001"])) as node:
        status = node.status()
        assert status["reachability"] == "reachable"
        assert status["reachability_why"] == (
            "Reachable at /dns4/relay.example.net/tcp/4001, as network.announce says."
        )
        assert [to_text(a) for a in node._reachability.confirmed] == ["/dns4/relay.example.net/tcp/4001"]


async def test_servers_may_contradict_what_is_announced() -> None:
    wrong = "/ip4/127.8.0.1/tcp/1"
    async with (
        servers(3) as others,
        Node(settings(9, discovery__bootstrap=names(others), network__announce=[wrong])) as node,
    ):
        report = await node.check()
        assert report["state"] == "reachable"
        assert report["sentence"] == (
            f"Reachable at {wrong}, as network.announce says. But of {wrong}, 3 of 3 servers could not connect: "
            "check that the port is open and forwarded."
        )


async def test_a_node_without_public_address_says_what_to_do() -> None:
    async with servers(1) as others:
        more = {"network__listen": ["/ip4/127.0.0.1/tcp/0"], "discovery__bootstrap": names(others)}
        async with Node(settings(9, **more)) as node:
            report = await node.check()
            assert report["state"] == "unknown"
            assert report["addresses"] == []
            assert report["sentence"].startswith("No public address is known of this node; its own, 127.0.0.1, leads")


async def test_a_client_has_nothing_to_reach_and_serves_nobody() -> None:
    async with Node(loaded({}, {})) as node:
        report = await node.check()
        assert report["state"] == "unknown"
        assert report["sentence"].startswith("This node listens nowhere")
        assert node._reachability._autonat is None


async def test_it_is_looked_at_anew_when_relaying_is_switched_on_and_off() -> None:
    async with servers(1) as others:
        given = {"network.public_ranges": PUBLIC, "discovery.bootstrap": names(others), "network.port_mapping": False}
        async with Node(loaded(given, {})) as node:
            assert node.status()["reachability"] == "unknown"
            await node.change_settings(
                {"relay.mode": "cooperative", "network.listen": ["/ip4/127.9.0.1/tcp/0"]}, persist=False
            )
            await until(lambda: node.status()["reachability"] == "reachable", PATIENCE)
            await node.change_settings({"relay.mode": "client", "network.listen": []}, persist=False)
            assert node.status()["reachability"] == "unknown"
            assert node._reachability.confirmed == ()


@contextlib.asynccontextmanager
async def watched(listening: list[str], known: list[str]) -> AsyncIterator[Reachability]:
    """Reachability without a node: `listening` may change."""
    reactor = Reactor(asyncio.get_running_loop())
    endpoint = Endpoint(reactor, os.urandom(32))
    endpoint.ask_identify = True
    port = endpoint.listen("127.9.0.1", 0)
    endpoint.listen("127.8.0.1", port)
    listening.append(f"/ip4/127.9.0.1/tcp/{port}")
    found = Reachability(endpoint, settings(9, discovery__bootstrap=known), lambda: listening, lambda *_, **__: None)
    await found.start()
    try:
        yield found
    finally:
        await found.stop()
        endpoint.close()
        await asyncio.sleep(0)
        endpoint.abort()
        reactor.close()


async def test_an_address_that_this_machine_loses_is_confirmed_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("towpath.reachability.watch._GLANCE_S", 0.05)
    listening: list[str] = []
    async with servers(2) as others, watched(listening, names(others)) as found:
        await until(lambda: found.state is State.REACHABLE, PATIENCE)
        states: list[tuple[State, int]] = []
        found.changed = lambda: states.append((found.state, len(found.confirmed)))
        listening[0] = listening[0].replace("127.9.", "127.8.")
        await until(lambda: found.state is State.UNKNOWN, PATIENCE)
        assert not found.confirmed
        await until(lambda: found.state is State.REACHABLE, PATIENCE)
        assert [to_text(address) for address in found.confirmed] == listening
        assert (State.UNKNOWN, 0) in states


async def test_a_confirmation_holds_while_there_is_nobody_to_ask() -> None:
    listening: list[str] = []
    async with contextlib.AsyncExitStack() as going:
        others = await going.enter_async_context(servers(2))
        async with watched(listening, names(others)) as found:
            await until(lambda: found.state is State.REACHABLE, PATIENCE)
            await going.aclose()
            report = await found.check()
            assert (report["state"], report["servers"]) == ("reachable", 0)


async def test_a_confirmation_does_not_hold_against_those_who_say_no() -> None:
    listening: list[str] = []
    async with servers(2) as others, watched(listening, names(others)) as found:
        await until(lambda: found.state is State.REACHABLE, PATIENCE)
        found._endpoint.stop_listening()
        report = await found.check()
        assert (report["state"], found.confirmed) == ("unreachable", ())
        assert "2 of 2 servers could not connect" in report["sentence"]


# --- sentences -----------------------------------------------------------------------------------------------------


def known(findings: list[Finding] | None = None, **more: Any) -> Known:
    given: dict[str, Any] = {"listens": True, "announced": (), "findings": findings or [], "servers": 3}
    return Known(**(given | {"mapping": None} | more))


def finding(*said: bool | None, origin: Origin = Origin.OWN) -> Finding:
    server = Server(b"", ipaddress.ip_address("8.8.8.8"))
    votes = tuple(Vote(server, each, "") for each in said)
    yes, no = said.count(True), said.count(False)
    place = Place(ipaddress.ip_address("2001:db8::1"), 4001)
    return Finding(Candidate(place, origin), True if yes > no else False if no > yes else None, votes)


@pytest.mark.parametrize(
    ("what", "state", "says"),
    [
        (
            known([finding(True, True, False)]),
            State.REACHABLE,
            "Reachable at /ip6/2001:db8::1/tcp/4001: 2 of 3 servers",
        ),
        (
            known([finding(False, False)], ports=[4001], mapping="the router forwards no port: PCP: no answer"),
            State.UNREACHABLE,
            "2 of 2 servers could not connect. Let the router forward TCP port 4001 to this machine (the router",
        ),
        (known([finding(False, False)], ports=[1, 2, 3]), State.UNREACHABLE, "forward TCP ports 1, 2 and 3 to this"),
        (
            known([finding(False, origin=Origin.MAPPED)]),
            State.UNREACHABLE,
            "a second router before it, or the provider",
        ),
        (known(second_router="100.64.0.2"), State.UNKNOWN, "its own address, 100.64.0.2, is behind a second router"),
        (known([finding(None, None)]), State.UNKNOWN, "did not agree, or did not say"),
        (known([finding()], servers=0), State.UNKNOWN, "there is nobody to ask yet"),
        (known(), State.UNKNOWN, "No public address is known of this node. Let the router forward a port to this"),
        (known(listens=False), State.UNKNOWN, "listens nowhere"),
    ],
)
def test_what_is_known_is_said_in_a_sentence(what: Known, state: State, says: str) -> None:
    assert says in sentence(what, state)
