"""Commands against a node that answers on its socket: what they ask, change and print."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog
from cyclopts import App
from jsonschema import Draft202012Validator

from tests.unit.controlled import PEER, RELAY, DoubleNode, serving
from tests.unit.nodes import meeting
from towpath.cli import main
from towpath.cli.app import app
from towpath.cli.document import document
from towpath.cli.limits import LIMITS
from towpath.cli.printed import LINES, ONCE, SCHEMAS
from towpath.control.paths import listen, socket_path
from towpath.control.server import ControlServer
from towpath.settings.schema import KEYS

API = Path(__file__).parents[2] / "docs" / "api.md"
Ran = tuple[int, str, str]
Run = Callable[..., Coroutine[Any, Any, Ran]]


@pytest.fixture
def node() -> DoubleNode:
    node = DoubleNode()
    node.settings = node.settings.changed(
        {"relay.max_bandwidth_per_hour": "500MB", "relay.max_bandwidth_per_day": "5GB", "relay.max_rate": "3MB/s"}
    )
    return node


@pytest_asyncio.fixture
async def data(node: DoubleNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """The directory of the node, which commands take by themselves."""
    monkeypatch.setenv("TOWPATH_DATA", str(tmp_path))
    async with serving(node, tmp_path):
        yield tmp_path
    structlog.reset_defaults()


@pytest.fixture
def run(data: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    async def call(*words: str) -> Ran:
        code = await asyncio.to_thread(main, words)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def fits(value: Any, name: str) -> None:
    """Fails when a value is not what a schema says."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    Draft202012Validator(schema).validate(value)


# --- JSON -----------------------------------------------------------------------------------------

WORDS = {
    "config get": "config get relay.mode",
    "config set": "config set relay.max_circuits 9",
    "config unset": "config unset relay.max_circuits",
    "mode MODE": "mode cooperative",
    "limit WHAT VALUE": "limit day 7GB",
    "reputation PEER": f"reputation {PEER}",
    "ledger PEER": "ledger 192.0.2.0/24",
    "schedule set": "schedule set mon 09-17 off",
}
ELSEWHERE = ("id", "service", "web", "doctor", "simulate")
"""Commands that ask no node, or more than one; `web` is in test_web, `simulate` in test_cli_simulate."""


@pytest.mark.parametrize("command", [command for command in ONCE if not command.startswith(ELSEWHERE)])
async def test_json_is_as_documented(run: Run, command: str) -> None:
    code, out, err = await run(*WORDS.get(command, command).split(), "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    schema, found = ONCE[command], json.loads(out)
    if isinstance(schema, tuple):
        assert found
        for row in found:
            fits(row, schema[0])
    else:
        fits(found, schema)


async def test_json_of_ids_is_as_documented(run: Run, tmp_path: Path) -> None:
    file, other = str(tmp_path / "keys"), str(tmp_path / "other")
    for command, words in (
        ("id", ["id"]),
        ("id export", ["id", "export", file]),
        ("id import", ["id", "import", file, "--data", other]),
    ):
        code, out, err = await run(*words, "--json")
        assert (code, err) == (0, "")
        fits(json.loads(out), ONCE[command])


async def test_json_of_the_doctor_is_as_documented(run: Run) -> None:
    code, out, _ = await run("doctor", "--json")
    found = json.loads(out)
    fits(found, ONCE["doctor"])
    assert code == (1 if found["counts"]["problem"] else 0)


def with_json(group: App, *before: str) -> list[str]:
    """The commands that take --json."""
    found = []
    for name in group:
        command = group[name]
        if name.startswith("-"):
            continue
        if command.default_command is not None and "as_json" in inspect.signature(command.default_command).parameters:
            found.append(" ".join((*before, name)))
        found += with_json(command, *before, name)
    return found


def test_every_command_with_json_is_documented() -> None:
    assert set(with_json(app)) | {"run"} == {
        command for command in {*ONCE, *LINES} if not any(word.isupper() or word[0] == "-" for word in command.split())
    }


def test_the_page_is_made_of_the_tables() -> None:
    assert API.read_text() == document(), "python -m towpath.cli.document > docs/api.md"


def test_every_schema_is_one_and_is_described() -> None:
    for name, schema in SCHEMAS.items():
        Draft202012Validator.check_schema(schema)
        assert schema["description"], name


# --- seeing ---------------------------------------------------------------------------------------


async def test_status_says_why_and_what_today_brought(run: Run) -> None:
    code, out, _ = await run("status")
    assert code == 0
    for part in (
        "dedicated",
        "relaying: relay mode is on",
        "from outside  Not known.",
        "4.9 GB relayed, 17 circuits",
        "2 circuits, 3 reservations",
        "1 h 2 min",
        "the larger of bytes sent and received",
        "4.9 GB of 5 GB (98%), resets 2033-05-",
        "5 GB, unlimited",
        PEER,
        RELAY,
    ):
        assert part in out


async def test_lists_shorten_peers_unless_asked_not_to(run: Run) -> None:
    assert PEER not in (await run("circuits"))[1]
    assert PEER in (await run("circuits", "--full"))[1]
    (row, _) = json.loads((await run("circuits", "--json"))[1])
    assert (row["peer"], row["relay_id"]) == ("…" + PEER[-6:], RELAY)
    for command in ("reservations", "peers", "relays"):
        code, out, _ = await run(command)
        assert code == 0
        assert len(out.splitlines()) == 2


async def test_check_says_the_sentence_and_who_said_what(run: Run) -> None:
    code, out, _ = await run("check")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith("Reachable at /ip4/1.2.3.4/tcp/4001")
    assert lines[-2].split() == ["/ip4/1.2.3.4/tcp/4001", "mapped", "…" + PEER[-6:], "connected"]
    assert lines[-1].endswith("does not dial such addresses")


# --- changing -------------------------------------------------------------------------------------


async def test_the_mode_is_switched_and_said(run: Run, node: DoubleNode) -> None:
    code, out, _ = await run("mode", "client")
    assert code == 0
    assert "relays for nobody" in out
    assert node.asked == [("change", {"relay.mode": "client"}, "the control API", True)]
    assert "The mode is client" in (await run("mode"))[1]


async def test_a_pause_is_told_with_its_end(run: Run, node: DoubleNode) -> None:
    assert (await run("pause"))[1].startswith("Paused: its owner paused it.\n`towpath resume`")
    assert (await run("pause", "2h"))[1].startswith("Paused, until 2033-05-")
    assert (await run("resume"))[1] == "Relaying: relay mode is on.\n"
    assert node.asked == [("pause", None), ("pause", 7200), ("resume",)]


@pytest.mark.parametrize("what", LIMITS)
async def test_every_limit_is_set_by_its_word(run: Run, node: DoubleNode, what: str) -> None:
    value = {"rate": "4MB/s", "circuit-duration": "30min"}.get(what, "1000")
    assert (await run("limit", what, value))[0] == 0
    assert [entry[1] for entry in node.asked] == [{LIMITS[what]: value}]
    assert node.settings.source(LIMITS[what]) == "the control API"
    shown = (await run("limit", what))[1]
    assert shown.startswith(what)
    assert str(node.settings.written(LIMITS[what])) in shown.splitlines()[0]


def test_every_limit_of_the_relay_has_a_word() -> None:
    limits = {key for key in KEYS if key.startswith(("relay.max_", "relay.circuit_"))}
    assert limits == set(LIMITS.values())


async def test_limits_are_shown_with_what_was_used(run: Run) -> None:
    code, out, _ = await run("limit")
    assert code == 0
    for part in (
        "3MB/s   (now 3 MB/s: relay.max_rate; 1.5 MB/s in, 1.4 MB/s out)",
        "100 MB of 500 MB (20%)",
        "the larger of bytes sent and received",
        "towpath limit day 5GB",
    ):
        assert part in out
    assert "Used" not in (await run("limit", "circuits"))[1]


async def test_the_schedule_of_the_running_node_is_painted_over(run: Run, node: DoubleNode) -> None:
    await run("schedule", "set", "mon-fri", "09-17", "off")
    code, out, _ = await run("schedule", "set", "fri", "22-02", "client")
    assert (code, out.splitlines()[0]) == (0, "From now on: fri 22-02 client.")
    week = node.settings.relay.schedule
    assert [week.at(4, hour) for hour in (8, 9, 16, 17, 22)] == ["open", "off", "off", "open", "client"]
    assert week.at(5, 1) == "client"
    assert "client: relays nothing" in (await run("schedule"))[1]
    await run("schedule", "clear")
    assert node.settings.relay.schedule.always_open


async def test_a_setting_of_the_running_node_is_changed_and_shown(run: Run, node: DoubleNode, data: Path) -> None:
    code, out, _ = await run("config", "set", "native.aead", "openssl")
    assert code == 0
    assert out.splitlines() == [
        "native.aead is openssl.",
        "native.aead takes effect when the node is started again.",
    ]
    assert (await run("config", "get", "native.aead"))[1] == "openssl\n"
    assert "the running node goes by" in (await run("config", "show", "--origin"))[1]
    assert not (data / "config.toml").exists()


async def test_what_wins_over_the_file_later_is_said(run: Run, node: DoubleNode) -> None:
    became = node.change_settings

    async def overridden(*changes: Any, **more: Any) -> dict[str, Any]:
        return await became(*changes, **more) | {"overridden": {"relay.mode": "environment TOWPATH_RELAY__MODE"}}

    node.change_settings = overridden  # type: ignore[method-assign]
    assert "At the next start environment TOWPATH_RELAY__MODE will win" in (await run("mode", "client"))[1]


async def test_what_the_node_refuses_is_wrong_usage(run: Run, node: DoubleNode) -> None:
    for words in (("config", "set", "relay.mod", "client"), ("limit", "circuits", "many")):
        code, out, err = await run(*words)
        assert (code, out) == (2, "")
        assert "relay." in err
    assert node.asked == []


async def test_a_real_node_is_changed_over_its_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOWPATH_DATA", str(tmp_path))
    async with meeting() as met:
        server = ControlServer(met.relay, listen(socket_path(tmp_path)))
        await server.start()
        try:
            here, _there = await met.pair()
            for words, told in (
                ("circuits --json", '"direction": "relayed"'),
                ("limit rate 5MB/s", "5MB/s"),
                ("limit --json", '"limit": 5000000.0'),
                ("pause 1h --json", '"state": "paused"'),
                ("resume", "Relaying"),
                ("limit circuits 0", "at most: 0"),
                ("schedule set daily 00-24 open", "From now on"),
                ("mode client", "relays for nobody"),
                ("top", "relay.max_rate is 5MB/s"),
                ("top --json", '"kind": "setting_changed"'),
            ):
                assert await asyncio.to_thread(main, words.split()) == 0
                out = capsys.readouterr().out
                assert told in out, words
            found = json.loads(out.splitlines()[-1])  # before it stands what the node logged
            fits(found, "snapshot")
            assert found["status"]["mode"] == "client"
            here.reset()
        finally:
            await server.stop()
    structlog.reset_defaults()
