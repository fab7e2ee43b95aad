"""A relay and peers as processes on hosts of the lab."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.net.lab.namespaces import Host

_ALONE: Final = {"discovery.mdns": "false", "discovery.dht": "false", "network.port_mapping": "false"}


class Relay:
    """`towpath run --mode MODE` on a host, at its address and `port`, with `settings` as `--set` takes them."""

    def __init__(
        self,
        host: Host,
        data: Path,
        settings: Mapping[str, str] | None = None,
        *,
        mode: str = "dedicated",
        port: int = 4001,
    ) -> None:
        command: list[str | Path] = [sys.executable, "-m", "towpath", "run", "--mode", mode, "--json", "--no-web"]
        command += ["--listen", f"/ip4/{host.address}/tcp/{port}", "--data", data]
        for key, value in (_ALONE | dict(settings or {})).items():
            command += ["--set", f"{key}={value}"]
        self.process = host.start(command, stdout=subprocess.PIPE)
        ready = _line(self.process)
        self.id: str = ready["relay_id"]
        self.address: str = ready["listen"][0]
        """Its multiaddr, with its id."""


class Peer:
    """One end of a circuit (tests/net/lab/peer.py) on a host."""

    def __init__(self, host: Host, role: str, address: str, count: int = 1) -> None:
        self.process = host.python("tests.net.lab.peer", role, address, str(count))
        self.id: str = _line(self.process)["peer"]

    def moved(self) -> int:
        """Bytes that it has received, or sent, so far."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        count: int = _line(self.process)["moved"]
        return count


def connect(dialing: Host, relay: Relay, receiving: Host, circuits: int = 1) -> tuple[Peer, Peer]:
    """Circuits that send as much as goes from one host through the relay to a peer on the other: (dialer, target)."""
    target = Peer(receiving, "target", relay.address)
    return Peer(dialing, "dialer", f"{relay.address}/p2p-circuit/p2p/{target.id}", circuits), target


def _line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(f"{process.args!r} ended with {process.wait()}")
    said: dict[str, Any] = json.loads(line)
    return said
