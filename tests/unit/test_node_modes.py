"""A node whose owner changes what it does while it runs: modes, pauses, the schedule; and what survives a restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.unit.nodes import ECHO, LOOPBACK, Meeting, address, client, echo, meeting, relay, until
from towpath import Node, RelayMode, Settings
from towpath.errors import NoRelaysAvailable, ReservationRefused, ResourceLimitExceeded, StreamReset, TowpathError
from towpath.host import sources
from towpath.host.sources import Verdict
from towpath.relay import service
from towpath.relay.modes import Now
from towpath.settings.file import change

GIVEN = {
    "discovery.mdns": False,
    "discovery.dht": False,
    "network.listen": list(LOOPBACK),
    "relay.mode": "cooperative",
    "relay.on_battery": True,
    "relay.on_metered": True,
}


def volunteer(data: Path | None = None, **settings: Any) -> Node:
    """A cooperative relay on loopback whose settings are those of its file as well."""
    overrides = {name.replace("__", "."): value for name, value in settings.items()}
    return Node(Settings.load(overrides, data=data, environ={}), data=data)


def write(data: Path, **settings: Any) -> None:
    change(data, GIVEN | {name.replace("__", "."): value for name, value in settings.items()}, source="the test")


def states(node: Node) -> list[str]:
    return [event["state"] for event in node.events.recent() if event["kind"] == "relay_state"]


async def becomes(node: Node, state: str) -> dict[str, Any]:
    await until(lambda: node.status()["state"] == state, 10)
    return node.status()


class Clock:
    """The service's clock, moved by the test."""

    def __init__(self, text: str) -> None:
        self.wall = datetime.fromisoformat(text).timestamp()
        self._offset = self.wall - time.monotonic()

    def __call__(self) -> Now:
        return Now(self.wall - self._offset, self.wall)

    def becomes(self, text: str) -> None:
        self.wall = datetime.fromisoformat(text).timestamp()


@pytest.fixture
async def met() -> AsyncIterator[Meeting]:
    async with meeting(relay__drain_grace="1m") as met:
        yield met


# --- switching off and pausing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["off", "paused"])
async def test_ending_takes_nobody_new_lets_circuits_end_and_then_closes(met: Meeting, how: str) -> None:
    here, there = await met.pair()
    own = await met.relay.reserve(address(met.relay))
    if how == "off":
        await met.relay.set_relay_mode(RelayMode.CLIENT_ONLY)
    else:
        await met.relay.pause()
    status = met.relay.status()
    assert status["state"] == "draining"
    assert 59 < status["until"] - time.time() <= 60
    here.write(b"still there")
    assert await there.readexactly(11) == b"still there"
    async with client() as late:
        with pytest.raises(TowpathError, match="does not relay now"):
            await late.reserve(address(met.relay))
    here.reset()
    there.reset()
    for session in met.alice._peer.peers[met.bob._peer.peer_id].sessions:
        session.close()
    status = await becomes(met.relay, how)
    assert status["reservations_now"] == status["circuits_now"] == 0
    assert states(met.relay) == ["relaying", "draining", how]
    await met.relay.release(own)


async def test_circuits_that_do_not_end_are_ended_when_their_time_is_over() -> None:
    async with meeting(relay__drain_grace="200ms") as met:
        here, _ = await met.pair()
        begun = time.monotonic()
        await met.relay.pause()
        assert met.relay.status()["state"] == "draining"
        with pytest.raises(StreamReset):
            await here.read()
        assert time.monotonic() - begun > 0.19
        assert (await becomes(met.relay, "paused"))["circuits_now"] == 0


async def test_ending_breaks_nobody_elses_streams(met: Meeting) -> None:
    async with relay() as other:
        met.relay.set_stream_handler(ECHO, echo)
        await met.relay.reserve(address(other))
        own = await met.alice.connect(met.relay.circuit_addresses[0], ECHO)
        await met.relay.change_settings({"relay.drain_grace": "0s"})
        await met.relay.set_relay_mode(RelayMode.CLIENT_ONLY)
        assert met.relay.status()["state"] == "off"
        own.write(b"mine")
        assert await own.readexactly(4) == b"mine"


async def test_clients_move_when_they_are_told_and_come_back(met: Meeting) -> None:
    await met.relay.pause()
    assert met.relay.status()["state"] == "paused"
    await until(lambda: met.bob.circuit_addresses == [])
    await met.relay.resume()
    assert met.relay.status()["state"] == "relaying"
    held = await met.bob.reserve(address(met.relay))
    assert held.state == "active"


async def test_a_change_of_mind_keeps_the_circuits(met: Meeting) -> None:
    here, there = await met.pair()
    await met.relay.pause()
    await met.relay.resume()
    assert states(met.relay) == ["relaying", "draining", "relaying"]
    here.write(b"x")
    assert await there.readexactly(1) == b"x"
    async with client() as late:
        await late.reserve(address(met.relay))


async def test_a_pause_of_a_while_ends_by_itself() -> None:
    async with relay() as middle:
        await middle.pause(0.2)
        status = middle.status()
        assert status["state"] == "paused"
        assert 0 < status["until"] - time.time() <= 0.2
        await becomes(middle, "relaying")


async def test_every_transition_is_told_with_its_reason(met: Meeting) -> None:
    await met.relay.pause(3600)
    await met.relay.resume()
    told = [event for event in met.relay.events.recent() if event["kind"] == "relay_state"]
    assert [event["sentence"] for event in told] == [
        "Relaying: relay mode is on",
        "Paused: its owner paused it",
        "Relaying: relay mode is on",
    ]
    assert told[1]["until"] == pytest.approx(time.time() + 3600, abs=5)
    kept = [row["sentence"] for row in await met.relay.store.events(10)]
    assert kept == [event["sentence"] for event in met.relay.events.recent()]


# --- the schedule and the machine ----------------------------------------------------------------------------------


async def test_the_week_switches_relaying_its_mode_and_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock("2026-03-04 08:00")
    monkeypatch.setattr(service, "real_time", clock)
    rules = ["mon-fri 09-17 off", "mon-fri 17-18 300kB/s", "mon-fri 18-19 dedicated"]
    async with relay(relay__mode="cooperative", relay__schedule=rules, relay__max_rate="unlimited") as middle:
        assert middle.status()["state"] == "relaying"
        clock.becomes("2026-03-04 09:00")
        middle._service.update()
        status = middle.status()
        assert status["state"] == "waiting"
        assert status["why"] == "relay.schedule says not at this hour"
        assert status["until"] == datetime.fromisoformat("2026-03-04 17:00").timestamp()
        assert status["since"] == datetime.fromisoformat("2026-03-04 09:00").timestamp()
        clock.becomes("2026-03-04 17:30")
        middle._service.update()
        assert middle.status()["state"] == "relaying"
        assert middle.limits()["rate"]["limit"] == 300_000
        assert [row["limit"] for row in middle.status()["budget"]] == [500_000_000, 5_000_000_000, 100_000_000_000]
        clock.becomes("2026-03-04 18:30")
        middle._service.update()
        assert middle.limits()["rate"]["limit"] is None
        assert [row["limit"] for row in middle.status()["budget"]] == [None] * 3
        assert middle.status()["mode"] == "cooperative"


async def test_a_schedule_switches_nothing_on_that_its_owner_switched_off() -> None:
    async with client(relay__schedule=["daily 00-24 dedicated"]) as node:
        assert node.status()["state"] == "off"


class Fake:
    """A source that says what the test wants."""

    name = "fake"

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self._changed: Callable[[], None] | None = None

    def verdict(self) -> Verdict:
        return self._verdict

    async def start(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    async def stop(self) -> None:
        self._changed = None

    def says(self, verdict: Verdict) -> None:
        self._verdict = verdict
        if self._changed is not None:
            self._changed()

    @property
    def watching(self) -> bool:
        return self._changed is not None


async def test_the_owner_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Fake] = {}

    def maker(kind: str) -> Callable[[], Fake]:
        def make() -> Fake:
            made[kind] = Fake(Verdict(kind == "idle", f"{kind} forbids it"))
            return made[kind]

        return make

    makers = {kind: maker(kind) for kind in ("idle", "battery", "metered")}
    monkeypatch.setattr(sources, "of_this_machine", lambda: makers)
    async with relay(relay__mode="cooperative", relay__only_when_idle=True) as middle:
        await until(lambda: len(made) == 3 and all(fake.watching for fake in made.values()))
        assert (middle.status()["state"], middle.status()["why"]) == ("waiting", "idle forbids it")
        made["idle"].says(Verdict(False))
        assert middle.status()["state"] == "relaying"
        made["battery"].says(Verdict(True, "battery forbids it"))
        made["metered"].says(Verdict(True, "metered forbids it"))
        assert middle.status()["why"] == "battery forbids it; metered forbids it"
        await middle.change_settings({"relay.on_battery": True, "relay.on_metered": True})
        assert middle.status()["state"] == "relaying"
        await until(lambda: not made["battery"].watching and not made["metered"].watching)
        assert made["idle"].watching
        await middle.set_relay_mode(RelayMode.CLIENT_ONLY)
        await until(lambda: not made["idle"].watching)


# --- limits --------------------------------------------------------------------------------------------------------


async def carry(met: Meeting, size: int) -> None:
    here, there = await met.pair(f"/carry/{time.monotonic_ns()}")
    here.write(bytes(size))
    await there.readexactly(size)
    here.reset()


@pytest.mark.slow
async def test_below_a_tenth_of_a_quota_nobody_new_is_admitted_and_who_asks_hears_why() -> None:
    async with meeting(relay__max_bandwidth_per_hour="2MB") as met:
        here, there = await met.pair()
        here.write(bytes(1_850_000))
        await there.readexactly(1_850_000)
        await until(lambda: "nobody new" in met.relay.status()["why"])
        assert met.relay.status()["state"] == "relaying"
        here.write(b"goes on")
        assert await there.readexactly(7) == b"goes on"
        async with client() as late:
            with pytest.raises(ReservationRefused, match="hourly quota"):
                await late.reserve(address(met.relay))
            with pytest.raises((ResourceLimitExceeded, NoRelaysAvailable), match="quota"):
                await late.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=address(met.relay))


@pytest.mark.slow
async def test_a_quota_is_reached_not_passed_and_a_larger_one_lets_relaying_go_on() -> None:
    async with meeting(relay__max_bandwidth_per_hour="3MB") as met:
        here, there = await met.pair()
        reading = asyncio.ensure_future(there.readexactly(4_000_000))
        with pytest.raises(StreamReset):
            here.write(bytes(4_000_000))
            await here.drain()
            await reading
        with pytest.raises(StreamReset):
            await reading
        status = await becomes(met.relay, "waiting")
        assert status["why"] == "the hour's budget is used up"
        hour = status["budget"][0]
        assert 2_700_000 < hour["used"] <= 3_000_000
        assert status["until"] == hour["resets_at"]
        await met.relay.change_settings({"relay.max_bandwidth_per_hour": "30MB"})
        assert met.relay.status()["state"] == "relaying"
        assert met.relay.status()["budget"][0]["used"] >= hour["used"]
        await met.bob.reserve(address(met.relay))
        await carry(met, 100_000)


@pytest.mark.slow
async def test_a_rate_can_be_lowered_and_lifted_while_a_circuit_runs() -> None:
    async with meeting() as met:
        here, there = await met.pair()
        await met.relay.change_settings({"relay.max_rate": "200kB/s"})
        assert met.relay.limits()["rate"]["limit"] == 200_000
        begun = time.monotonic()
        here.write(bytes(300_000))
        await there.readexactly(300_000)
        assert time.monotonic() - begun > 0.8
        await met.relay.change_settings({"relay.max_rate": "unlimited"})
        begun = time.monotonic()
        here.write(bytes(3_000_000))
        await there.readexactly(3_000_000)
        assert time.monotonic() - begun < 5


# --- what survives -------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_pause_schedule_limits_and_totals_survive_a_restart(tmp_path: Path) -> None:
    write(tmp_path)
    async with volunteer(tmp_path) as middle, client(client__hide_ip=False) as alice, client() as bob:
        met = Meeting(middle, alice, bob)
        await bob.reserve(address(middle))
        await carry(met, 500_000)
        schedule = ["mon 00-24 500kB/s", "tue-sun 00-24 400kB/s"]
        await middle.change_settings({"relay.schedule": schedule, "relay.max_bandwidth_per_hour": "70MB"})
        await middle.change_settings({"relay.max_rate": "3MB/s"})
        await middle.change_settings({"relay.drain_grace": "0s"})
        await middle.pause()
        before = middle.status()
        assert before["state"] == "paused"
        assert before["bytes_relayed_total"] > 500_000
        rows = await middle.traffic("24h")
    async with volunteer(tmp_path) as middle, client() as bob:
        after = middle.status()
        assert (after["state"], after["why"]) == ("paused", "its owner paused it")
        for name in ("mode", "circuits_today", "bytes_relayed_today", "bytes_relayed_total"):
            assert after[name] == before[name]
        assert after["bytes_relayed_today"] == before["bytes_relayed_today"]
        for now, then in zip(after["budget"], before["budget"], strict=True):
            assert now["limit"] == then["limit"]
            # Goodbyes count, too.
            assert then["used"] <= now["used"] <= then["used"] + 10_000
        assert after["budget"][0]["limit"] == 70_000_000
        assert middle.limits()["rate"]["limit"] in (400_000, 500_000)
        assert middle.settings.relay.max_rate == 3e6
        assert sum(row["sent"] for row in await middle.traffic("24h")) >= sum(row["sent"] for row in rows)
        peers = {row["peer_id"]: row for row in await middle.store.peers()}
        assert peers[alice.peer_id]["circuits"] == 1
        assert peers[alice.peer_id]["received"] > 500_000
        await middle.resume()
        assert middle.status()["state"] == "relaying"
        await bob.reserve(address(middle))
    async with volunteer(tmp_path) as middle:
        assert middle.status()["state"] == "relaying"


async def test_a_pause_that_ended_while_the_node_was_away_is_over(tmp_path: Path) -> None:
    write(tmp_path)
    async with volunteer(tmp_path) as middle:
        await middle.pause(0.05)
    await asyncio.sleep(0.06)
    async with volunteer(tmp_path) as middle:
        assert middle.status()["state"] == "relaying"


async def test_a_mode_is_kept_for_the_next_start_and_whatever_overrides_it_there_is_told(tmp_path: Path) -> None:
    write(tmp_path, relay__mode="client")
    async with volunteer(tmp_path) as node:
        answer = await node.set_relay_mode(RelayMode.COOPERATIVE)
        assert answer == {"applied": ["relay.mode"], "at_next_start": [], "overridden": {}}
    async with volunteer(tmp_path) as node:
        assert node.status()["mode"] == "cooperative"
    async with volunteer(tmp_path, relay__mode="dedicated") as node:
        answer = await node.set_relay_mode(RelayMode.CLIENT_ONLY)
        assert answer["overridden"] == {"relay.mode": "an override"}
        assert node.status()["state"] == "off"
        assert (await node.reload_settings())["applied"] == []
        assert node.status()["mode"] == "client", "what was said last holds while the node runs"


async def test_relay_mode_can_be_enabled_with_a_configuration() -> None:
    async with client(network__listen=list(LOOPBACK), relay__on_battery=True, relay__on_metered=True) as node:
        await node.enable_relay_mode({"max_circuits": 7, "relay.max_rate": "1MB/s"})
        assert node.status()["mode"] == "cooperative"
        assert (node.settings.relay.max_circuits, node.settings.relay.max_rate) == (7, 1e6)
        await node.enable_relay_mode({"mode": "dedicated"})
        assert node.status()["mode"] == "dedicated"
        await node.enable_relay_mode()
        assert node.status()["mode"] == "dedicated"
