"""The relays that are measured, each a process on CPU 1: towpath, the C reference, and those of go, rust and js."""

import json
import re
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.interop.build import BuildFailed, ToolMissing, peer_command
from tests.tools import missing

from benchmarks.programs import RELAY_CPU, Programs, start

FOREIGN: Final = ("go", "rust", "js")
_READY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0
_OPEN_FILES: Final = 16384
NO_LIMITS: Final[Mapping[str, str]] = {
    "relay.max_circuits": "unlimited",
    "relay.max_circuits_per_peer": "unlimited",
    "relay.max_reservations": "unlimited",
    "relay.max_reservations_per_ip": "unlimited",
    "network.port_mapping": "false",
    "discovery.mdns": "false",
    "discovery.dht": "false",
}


class Relay:
    """A running relay; ends with the `with` block.

    `ready` is the first line it printed: JSON, or "port N" from the reference. `ready_seconds` is the time from
    starting the program to that line.
    """

    def __init__(self, name: str, command: Sequence[str | Path], *, cpu: int | None = RELAY_CPU) -> None:
        self.name = name
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, _OPEN_FILES), hard), hard))
        began = time.monotonic()
        self.process = start(command, cpu=cpu, stderr=self._complaints)
        try:
            self.ready = self._first_line()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.ready_seconds = time.monotonic() - began

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def address(self) -> str:
        """HOST:PORT of its first listener."""
        if match := re.fullmatch(r"port (\d+)", self.ready):
            return f"127.0.0.1:{match[1]}"
        said: dict[str, Any] = json.loads(self.ready)
        address = (said.get("listen") or said.get("addrs") or [""])[0]
        if (match := re.match(r"/ip4/([\d.]+)/tcp/(\d+)", address)) is None:
            raise AssertionError(f"{self.name} names no TCP address: {self.ready}")
        return f"{match[1]}:{match[2]}"

    def tell(self, line: str) -> str:
        """Writes a line to its standard input and returns the line with which it answers."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()
        return self._first_line()

    def resident_kib(self) -> int:
        """Resident memory in KiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError(f"{self.name} has ended")

    def stop(self) -> None:
        """Ends it as its kind wants to be ended, by force if it does not comply."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self.name == "towpath":
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._complaints.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _first_line(self) -> str:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            line = b""
            deadline = time.monotonic() + _READY_SECONDS
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise AssertionError(f"{self.name} said nothing for {_READY_SECONDS:g} s: {self._tail()}")
                byte = self.process.stdout.read(1)
                if not byte:
                    raise AssertionError(f"{self.name} ended: {self._tail()}")
                line += byte
        return line.decode().strip()

    def _tail(self) -> str:
        self._complaints.seek(0)
        return self._complaints.read()[-2000:].decode(errors="replace")


def reference(programs: Programs) -> Relay:
    """The C reference."""
    return Relay("reference", [programs.reference, "serve"])


def timed_reference(programs: Programs) -> Relay:
    """The C reference, which tells how long its slices took for each line it is told."""
    return Relay("reference, timed", [programs.reference, "serve", "timed"])


def towpath(data: Path, **settings: str) -> Relay:
    """`towpath run --mode dedicated` without limits. Double underscores in keyword names stand for dots."""
    given = dict(NO_LIMITS) | {key.replace("__", "."): value for key, value in settings.items()}
    command: list[str | Path] = [sys.executable, "-m", "towpath", "run", "--mode", "dedicated", "--json", "--no-web"]
    command += ["--listen", "/ip4/127.0.0.1/tcp/0", "--data", data]
    for key, value in given.items():
        command += ["--set", f"{key}={value}"]
    return Relay("towpath", command)


def foreign(name: str) -> Relay:
    """The relay of another implementation, with its limits lifted (tests/interop/peers)."""
    try:
        command = peer_command(name)
    except (ToolMissing, BuildFailed) as error:
        missing(str(error))
    return Relay(name, [*command, "relay", "--listen", "127.0.0.1"])


def open_relay(name: str, programs: Programs, data: Path) -> Relay:
    """A relay by its name: towpath, reference, go, rust or js."""
    if name == "reference":
        return reference(programs)
    return towpath(data) if name == "towpath" else foreign(name)
