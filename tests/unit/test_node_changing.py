"""Settings of a running node: what takes effect at once, what is kept, and what wins where several set one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.nodes import LOOPBACK, address, client, meeting, relay
from towpath import Node, Settings
from towpath.errors import DialError, ReservationRefused, SettingsError
from towpath.live_settings import variable

FILE = "config.toml"


def node(data: Path, **overrides: object) -> Node:
    given = {name.replace("__", "."): value for name, value in overrides.items()}
    return Node(Settings.load(given, data=data, source="--set"), data=data)


async def test_a_change_is_applied_kept_and_told(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        answer = await one.change_settings({"relay.max_circuits": 9, "native.aead": "openssl"}, source="the test")
        assert answer == {"applied": ["relay.max_circuits"], "at_next_start": ["native.aead"], "overridden": {}}
        assert one.settings.relay.max_circuits == 9
        assert one.settings.source("relay.max_circuits") == str(tmp_path / FILE)
        told = [event["sentence"] for event in one.events.recent() if event["kind"] == "setting_changed"]
        assert told == ["relay.max_circuits is 9", "native.aead is openssl at the next start"]
    assert Settings.load(data=tmp_path, environ={}).relay.max_circuits == 9


async def test_a_setting_is_given_back_to_its_default(tmp_path: Path) -> None:
    async with node(tmp_path, relay__max_circuits=7) as one:
        await one.change_settings({"relay.max_circuits": 9, "log.level": "debug"})
        answer = await one.change_settings({"relay.max_circuits": None, "log.level": None})
        assert answer["overridden"] == {"relay.max_circuits": "--set"}
        assert one.settings.relay.max_circuits == 256
        await one.reload_settings()
        assert one.settings.source("relay.max_circuits") == one.settings.source("log.level") == "default"


async def test_a_change_for_now_is_forgotten_at_the_next_start(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.change_settings({"relay.max_circuits": 9}, persist=False)
        await one.reload_settings()
        assert one.settings.relay.max_circuits == 9
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    "wrong", [{"relay.max_circuits": "many"}, {"relay.max_circuit": 9}, {"network.listen": ["/ip4/192.0.2.1/tcp/1"]}]
)
async def test_nothing_is_half_applied(tmp_path: Path, wrong: dict[str, object]) -> None:
    async with node(tmp_path, network__listen=list(LOOPBACK), relay__mode="dedicated") as one, client() as bob:
        before, listening = one.settings, one.listen_addresses
        with pytest.raises(SettingsError):
            await one.change_settings({"relay.max_reservations": 1} | wrong)
        assert one.settings == before
        assert one.listen_addresses == listening
        assert not (tmp_path / FILE).exists()
        await bob.ping(address(one))


async def test_a_file_that_cannot_be_written_undoes_the_change(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        (tmp_path / FILE).write_text("relay = 3\n")
        with pytest.raises(SettingsError):
            await one.change_settings({"relay.max_circuits": 9})
        assert one.settings.relay.max_circuits == 256
        assert (tmp_path / FILE).read_text() == "relay = 3\n"


async def test_listening_moves_while_the_node_runs() -> None:
    async with relay() as middle, client() as bob:
        old = address(middle)
        await middle.change_settings({"network.listen": ["/ip4/127.0.0.2/tcp/0"]})
        assert address(middle).startswith("/ip4/127.0.0.2/tcp/")
        assert await bob.ping(address(middle)) > 0
        with pytest.raises(DialError):
            async with client() as late:
                await late.ping(old)
        await middle.change_settings({"network.announce": ["/dns4/relay.example.org/tcp/4001"]})
        held = await bob.reserve(address(middle))
        assert held.addresses[0] == f"/dns4/relay.example.org/tcp/4001/p2p/{middle.relay_id}"


async def test_who_may_reserve_changes_at_once_and_what_stands_stays() -> None:
    async with meeting() as met, client() as late:
        await met.relay.change_settings({"relay.max_reservations": 1})
        with pytest.raises(ReservationRefused):
            await late.reserve(address(met.relay))
        await met.relay.change_settings({"relay.deny": [late.peer_id], "relay.max_reservations": 2})
        with pytest.raises(Exception, match="does not let this peer in"):
            await late.reserve(address(met.relay))
        assert met.relay.status()["reservations_now"] == 1


# --- layers --------------------------------------------------------------------------------------------------------


async def test_the_file_is_read_again_under_what_was_given_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable("relay.max_reservations"), "5")
    (tmp_path / FILE).write_text("[relay]\nmax_circuits = 1\nmax_reservations = 1\nmax_circuits_per_peer = 1\n")
    async with node(tmp_path, relay__max_circuits=7) as one:
        (tmp_path / FILE).write_text("[relay]\nmax_circuits = 2\nmax_reservations = 2\nmax_circuits_per_peer = 2\n")
        answer = await one.reload_settings()
        assert answer["applied"] == ["relay.max_circuits_per_peer"]
        given = one.settings.relay
        assert (given.max_circuits, given.max_reservations, given.max_circuits_per_peer) == (7, 5, 2)
        assert one.settings.source("relay.max_circuits") == "--set"


async def test_what_the_owner_says_while_it_runs_wins_until_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable("relay.max_reservations"), "5")
    async with node(tmp_path, relay__max_circuits=7) as one:
        answer = await one.change_settings({"relay.max_circuits": 8, "relay.max_reservations": 8})
        assert answer["overridden"] == {
            "relay.max_circuits": "--set",
            "relay.max_reservations": "environment TOWPATH_RELAY__MAX_RESERVATIONS",
        }
        await one.reload_settings()
        assert (one.settings.relay.max_circuits, one.settings.relay.max_reservations) == (8, 8)
        # An edit of the file comes later still.
        (tmp_path / FILE).write_text("[relay]\nmax_circuits = 9\n")
        await one.reload_settings()
        assert (one.settings.relay.max_circuits, one.settings.relay.max_reservations) == (9, 128)


async def test_a_wrong_file_changes_nothing(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        (tmp_path / FILE).write_text("[relay]\nmax_circuits = 3\nmax_circuit = 4\n")
        with pytest.raises(SettingsError, match="max_circuit"):
            await one.reload_settings()
        assert one.settings.relay.max_circuits == 256


async def test_a_program_around_the_node_may_obey_what_a_node_cannot() -> None:
    async with client() as one:
        seen: list[str] = []
        one.on_settings("log.", lambda settings: seen.append(settings.log.level))
        answer = await one.change_settings({"log.level": "debug", "web.listen": "none"}, persist=False)
        assert seen == ["debug"]
        assert (answer["applied"], answer["at_next_start"]) == (["log.level"], ["web.listen"])
        await one.change_settings({"relay.max_circuits": 1}, persist=False)
        assert seen == ["debug"]
