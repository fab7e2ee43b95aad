"""examples/chat as people use it: screens that type at each other through a relay process on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from examples.chat.app import Chat
from textual.pilot import Pilot
from textual.widgets import Input, RichLog, Static

from towpath import Node, Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

ROOT = Path(__file__).parents[2]
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("TOWPATH_")} | {
    "TOWPATH_DISCOVERY__MDNS": "false"
}
WAIT = 20.0


class Relay:
    """A `towpath run` of its own."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self.process = process
        self.address = address


@pytest_asyncio.fixture
async def relays(tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[Relay]]]:
    """Starts relays, and ends them."""
    started: list[Relay] = []

    async def start() -> Relay:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "towpath", "run", "--mode", "dedicated", "--no-web", "--json"),
            *("--listen", "/ip4/127.0.0.1/tcp/0", "--data", str(tmp_path / f"relay-{len(started)}")),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=ENVIRON,
        )
        assert process.stdout is not None
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), WAIT))
        started.append(Relay(process, ready["listen"][0]))
        return started[-1]

    yield start
    for relay in started:
        if relay.process.returncode is None:
            relay.process.terminate()
        await relay.process.communicate()


class Screen:
    """One person's chat, driven by Textual's pilot."""

    def __init__(self, app: Chat, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    async def type(self, text: str) -> None:
        self.app.query_one(Input).value = text
        await self.pilot.press("enter")

    def talk(self) -> str:
        return "\n".join(strip.text.rstrip() for strip in self.app.query_one("#talk", RichLog).lines)

    def part(self, name: str) -> str:
        return str(self.app.query_one(f"#{name}", Static).render())

    async def shows(self, *texts: str, on: str = "talk") -> None:
        """Returns as soon as it does."""

        def shown() -> str:
            return self.talk() if on == "talk" else self.part(on)

        try:
            async with asyncio.timeout(WAIT):
                while not all(text in shown() for text in texts):
                    await self.pilot.pause(0.02)
        except TimeoutError:
            pytest.fail(f"{texts} is not on {self.app.room.name}'s screen, but\n{shown()}")

    @property
    def address(self) -> str:
        return self.app.node.circuit_addresses[0]


@contextlib.asynccontextmanager
async def chatting(name: str, relays: list[str], *friends: str) -> AsyncIterator[Screen]:
    """A chat with its own node, on screen."""
    settings = Settings.load(
        {"relay.mode": "client", "discovery.bootstrap": relays, "discovery.mdns": False}, environ={}
    )
    async with Node(settings) as node:
        app = Chat(node, name, friends)
        async with app.run_test(size=(100, 30)) as pilot:
            screen = Screen(app, pilot)
            await screen.shows("connected via", on="way")
            yield screen


async def test_three_people_talk_and_everybody_hears_everybody(relays: Callable[[], Awaitable[Relay]]) -> None:
    relay = await relays()
    async with chatting("ada", [relay.address]) as ada, chatting("bo", [relay.address], ada.address) as bo:
        await ada.shows("bo is here")
        async with chatting("cy", [relay.address], bo.address) as cy:
            for screen, others in ((ada, ("bo", "cy")), (bo, ("ada", "cy")), (cy, ("ada", "bo"))):
                await screen.shows(*others, on="people")
            for screen in (ada, bo, cy):
                await screen.type(f"hello from {screen.app.room.name}")
            for screen in (ada, bo, cy):
                await screen.shows("hello from ada", "hello from bo", "hello from cy")
        # Who leaves is seen to leave, and the room goes on.
        await ada.shows("cy left")
        await bo.type("still here?")
        await ada.shows("still here?")


async def test_the_room_outlives_who_began_it(relays: Callable[[], Awaitable[Relay]]) -> None:
    relay = await relays()
    async with contextlib.AsyncExitStack() as later:
        async with chatting("ada", [relay.address]) as ada:
            bo = await later.enter_async_context(chatting("bo", [relay.address], ada.address))
            cy = await later.enter_async_context(chatting("cy", [relay.address], ada.address))
            await cy.shows("ada", "bo", on="people")
            await bo.shows("ada", "cy", on="people")
        await bo.shows("ada left")
        await cy.type("who turns off the light?")
        await bo.shows("who turns off the light?")


async def test_people_find_each_other_again_when_a_relay_dies(relays: Callable[[], Awaitable[Relay]]) -> None:
    both = [await relays(), await relays()]
    addresses = [relay.address for relay in both]
    async with chatting("ada", addresses) as ada, chatting("bo", addresses, ada.address) as bo:
        await ada.shows("bo is here")
        (person,) = bo.app.room.people.values()
        carrying = next(relay for relay in both if relay.address.endswith(str(person.via)))
        carrying.process.kill()
        await ada.shows("bo left\nbo is here")
        await ada.type("what was that?")
        await bo.shows("what was that?")


async def test_the_screens_say_by_which_way_and_that_the_address_is_hidden(
    relays: Callable[[], Awaitable[Relay]],
) -> None:
    adas, bos = [(await relays()).address for _ in range(2)], [(await relays()).address for _ in range(2)]
    async with chatting("ada", adas) as ada, chatting("bo", bos) as bo:
        for screen, theirs in ((ada, adas), (bo, bos)):
            await screen.shows("connected via", *(f"…{relay[-6:]}" for relay in theirs), "IP hidden ✓", on="way")
        await bo.app.room.join(ada.address)
        await bo.shows("ada is here")
        await ada.shows("bo is here")
        await bo.shows("IP hidden ✓", on="way")
        (person,) = bo.app.room.people.values()
        assert person.via in [relay.rpartition("/")[2] for relay in adas]
        await bo.shows(f"via …{str(person.via)[-6:]}", on="people")
        # A person is known by the one peer id, by whatever identity the way there was dialed.
        assert list(ada.app.room.people) == [bo.app.node.peer_id]
        await ada.pilot.press("ctrl+y")
        assert ada.app.clipboard == ada.address


async def test_the_screen_says_what_is_missing_for_a_hidden_address(relays: Callable[[], Awaitable[Relay]]) -> None:
    relay = await relays()
    async with chatting("ada", [relay.address]) as ada, chatting("bo", [relay.address], ada.address) as bo:
        # The only relay there is knows where bo is, and now also whom bo talks with.
        await bo.shows("IP not hidden", ada.app.node.peer_id[-6:], on="way")


async def test_nothing_that_a_peer_says_steers_the_terminal(relays: Callable[[], Awaitable[Relay]]) -> None:
    relay = await relays()
    async with chatting("ada", [relay.address]) as ada, chatting("bo\x1b[31m", [relay.address], ada.address) as bo:
        await ada.shows("bo[31m is here")
        for person in bo.app.room.people.values():
            body = json.dumps({"type": "say", "text": "red\x1b[2Jalert\u202e"}).encode()
            person.streams[0].write(len(body).to_bytes(2) + body)
        await ada.shows("red[2Jalert")
        assert "\x1b" not in ada.talk()


async def test_a_chat_in_a_terminal_of_its_own_meets_another(relays: Callable[[], Awaitable[Relay]]) -> None:
    relay = await relays()
    async with chatting("ada", [relay.address]) as ada:
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "examples.chat", "--name", "bo", "--relay", relay.address, ada.address),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=ROOT,
            env=ENVIRON | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},
            start_new_session=True,
        )
        os.close(theirs)
        terminal = Terminal(ours)
        try:
            await ada.shows("bo is here")
            await ada.type("good morning")
            await terminal.shows("good morning")
            os.write(ours, b"same to you\r")
            await ada.shows("same to you")
            os.write(ours, b"\x11")  # ctrl+q
            assert await asyncio.wait_for(process.wait(), WAIT) == 0
            await ada.shows("bo left")
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                await process.wait()
            terminal.close()


class Terminal:
    """The other side of a pseudo-terminal: keeps what was drawn there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._drawn = ""
        self._changed = asyncio.Event()
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self._readable)

    def _readable(self) -> None:
        try:
            drawn = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return
        except OSError:  # what a terminal says when nobody has it open any more
            drawn = b""
        if not drawn:
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self._drawn += drawn.decode(errors="replace")
        self._changed.set()

    async def shows(self, text: str) -> None:
        """Returns as soon as it has been drawn."""
        try:
            async with asyncio.timeout(WAIT):
                while text not in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self._drawn):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pytest.fail(f"{text!r} was not drawn, but {self._drawn[-2000:]!r}")

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
