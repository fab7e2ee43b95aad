"""What the service manager is told, over real datagram sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from towpath.host.notify import BEAT, Manager


def fill(address: str) -> None:
    """Sends to a socket until it takes nothing more, whoever it is from."""
    sent = 1
    while sent:
        sent = 0
        one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        with one, contextlib.suppress(BlockingIOError):
            while True:
                one.sendto(b"x", address.replace("@", "\0", 1))
                sent += 1


class Listener:
    """The socket of a service manager."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(address.replace("@", "\0", 1))

    async def next(self) -> dict[str, str]:
        """The next message."""
        async with asyncio.timeout(10):
            return self.parse(await asyncio.get_running_loop().sock_recv(self._socket, 4096))

    def waiting(self) -> dict[str, str] | None:
        """A message that came already; None: there is none."""
        try:
            return self.parse(self._socket.recv(4096))
        except BlockingIOError:
            return None

    @staticmethod
    def parse(message: bytes) -> dict[str, str]:
        pairs = [line.partition("=") for line in message.decode().splitlines()]
        return {name: value for name, _, value in pairs}

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    at = Listener(str(tmp_path / "notify") if request.param == "path" else f"@towpath-test-{os.getpid()}")
    yield at
    at.close()


def above(address: str, **more: str) -> Manager:
    return Manager.above({"NOTIFY_SOCKET": address, **more})


async def test_a_life_is_told_from_ready_to_stopping(listener: Listener) -> None:
    manager = above(listener.address)
    assert listener.waiting() is None
    manager.ready(lambda: "relaying; 3 circuits")
    assert await listener.next() == {"READY": "1", "WATCHDOG": "1"}
    assert await listener.next() == {"READY": "1", "STATUS": "relaying; 3 circuits"}
    with manager.reloading():
        told = await listener.next()
        assert told["RELOADING"] == "1"
        assert int(told["MONOTONIC_USEC"]) > 0
    assert await listener.next() == {"READY": "1"}
    manager.stopping()
    assert await listener.next() == {"STOPPING": "1", "STATUS": "Stopping"}


async def test_beats_come_twice_in_the_watchdogs_time_and_end_with_the_node(listener: Listener) -> None:
    manager = above(listener.address, WATCHDOG_USEC="40000", WATCHDOG_PID=str(os.getpid()))
    assert manager.interval == 0.02
    counted = 0

    def sentence() -> str:
        nonlocal counted
        counted += 1
        return f"beat\n{counted}"

    manager.ready(sentence)
    for beat in range(1, 4):
        assert "WATCHDOG" in await listener.next()
        assert (await listener.next())["STATUS"] == f"beat {beat}"
    manager.stopping()
    while (told := listener.waiting()) is not None and "STOPPING" not in told:
        pass
    assert told is not None
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await listener.next()


async def test_a_reload_that_fails_is_over_too(listener: Listener) -> None:
    manager = above(listener.address)
    manager.ready(str)
    with pytest.raises(ValueError, match="wrong"), manager.reloading():
        raise ValueError("wrong")
    said = [await listener.next() for _ in range(4)]
    assert "RELOADING" in said[2]
    assert said[3] == {"READY": "1"}


async def test_stopping_while_reloading_stays_stopping(listener: Listener) -> None:
    manager = above(listener.address)
    manager.ready(str)
    with manager.reloading():
        manager.stopping()
    with manager.reloading():
        pass
    said = [await listener.next() for _ in range(4)]
    assert "STOPPING" in said[3]
    assert listener.waiting() is None


async def test_a_full_queue_blocks_nobody_and_the_next_beat_repeats_the_state(listener: Listener) -> None:
    manager = above(listener.address, WATCHDOG_USEC="40000")
    fill(listener.address)
    manager.ready(str)
    while (told := listener.waiting()) is not None:
        assert told == {"x": ""}
    assert (await listener.next())["READY"] == "1"
    manager.stopping()


def test_the_variables_are_gone_for_children_and_meant_for_this_process_only() -> None:
    environ = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1", "HOME": "/"}
    manager = Manager.above(environ)
    assert environ == {"HOME": "/"}
    assert manager.interval == BEAT


@pytest.mark.parametrize("address", [None, "", "@", "vsock:2:1234", "relative"])
async def test_without_a_manager_nothing_happens(address: str | None) -> None:
    manager = Manager(address)
    manager.ready(lambda: pytest.fail("nobody asked"))
    with manager.reloading():
        manager.stopping()


async def test_a_manager_that_is_gone_disturbs_nobody(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "gone"))
    manager.ready(str)
    manager.stopping()
