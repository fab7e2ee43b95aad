"""A relay of the program under test, in a process of its own, watched from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.peerlab.keys import from_base58
from tests.peerlab.multiaddr import socket_address
from tests.peerlab.patience import eventually

_LOCAL_ONLY = {"network.port_mapping": "false", "discovery.mdns": "false", "discovery.dht": "false"}


class RelayProcess:
    """`towpath run` on loopback, as a dedicated relay. Stopping it checks that it ends well and without a traceback."""

    def __init__(
        self,
        directory: Path,
        settings: dict[str, str] | None = None,
        *,
        listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",),
        options: tuple[str, ...] = ("--mode", "dedicated", "--no-web"),
    ) -> None:
        """Starts it and returns when it is ready. `settings` are contract keys and values, `options` words of `run`."""
        directory.mkdir(parents=True, exist_ok=True)
        self._out, self._err = directory / "stdout", directory / "stderr"
        command = [sys.executable, "-m", "towpath", "run", "--json", *options]
        for address in listen:
            command += ["--listen", address]
        for key, value in (_LOCAL_ONLY | (settings or {})).items():
            command += ["--set", f"{key}={value}"]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [*command, "--data", str(directory / "data")],
                stdout=out,
                stderr=err,
                env=os.environ | {"PYTHONFAULTHANDLER": "1"},
            )
        self.ready = self._wait_until_ready()
        self.pid = self._process.pid
        self.data = directory / "data"
        self.peer_id = from_base58(self.ready["relay_id"])
        self.addresses: list[str] = self.ready["listen"]

    def _wait_until_ready(self, patience: float = 20.0) -> dict[str, Any]:
        deadline = time.monotonic() + patience
        while b"\n" not in (first := self._out.read_bytes()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                raise AssertionError(f"the relay is not ready: {self._err.read_text()[-2000:]}")
            time.sleep(0.01)
        ready: dict[str, Any] = json.loads(first.partition(b"\n")[0])
        assert ready["event"] == "ready", ready
        return ready

    @property
    def address(self) -> tuple[str, int]:
        return socket_address(self.addresses[0])[0]

    def listening_on(self, prefix: str) -> "RelayListener":
        """One of its addresses: those that begin with "ip4", "ip6", or more than that."""
        address = next(address for address in self.addresses if address.startswith(f"/{prefix}/"))
        return RelayListener(socket_address(address)[0], self.peer_id)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def complaints(self) -> str:
        """What it has written to stderr."""
        return self._err.read_text(errors="replace")

    def rss(self) -> int:
        """Resident memory in bytes."""
        for row in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if row.startswith("VmRSS:"):
                return int(row.split()[1]) * 1024
        raise AssertionError("no VmRSS: the relay has ended")

    def descriptors(self) -> int:
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def has_descriptors(self, count: int, patience: float = 10.0) -> None:
        """Waits until no more than so many are open."""
        await eventually(lambda: self.descriptors() <= count, f"return to {count} descriptors", patience)

    def stop(self) -> None:
        """Ends it as an operator would, and checks that it went as it should."""
        assert self.alive, f"the relay has died: {self.complaints[-4000:]}"
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the relay did not end within 10 s of SIGTERM") from None
        assert code == 0, f"the relay ended with {code}: {self.complaints[-4000:]}"
        assert "Traceback" not in self.complaints, self.complaints[-4000:]

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()
        self._process.wait()


class RelayListener:
    """One address of a relay, to be dialed."""

    def __init__(self, address: tuple[str, int], peer_id: bytes) -> None:
        self.address, self.peer_id = address, peer_id
