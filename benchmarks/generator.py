"""Runs the load generator against a relay and returns what it measured (benchmarks/load says how)."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.programs import LOAD_CPU, RELAY_CPU, Programs, start
from benchmarks.relays import Relay

KIB: Final = 1024
LARGEST_FRAME: Final = 65507
"""The payload of a yamux frame that fills one Noise message: what "64 KiB frames" are here."""
_PATIENCE: Final = 360.0


@dataclass(frozen=True, slots=True)
class Bulk:
    """Bytes delivered in a stretch of time, and the relay's CPU time in it."""

    bytes: int
    seconds: float
    cpu_ns: int
    load_cpu_ns: int

    @property
    def cpu_s_per_gb(self) -> float:
        return self.cpu_ns / self.bytes

    @property
    def mb_per_s(self) -> float:
        return self.bytes / self.seconds / 1e6


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Times in microseconds; `bulk_bytes` were moved beside them."""

    samples: int
    p50_us: float
    p99_us: float
    max_us: float
    cpu_ns: int
    bulk_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Churn:
    """Circuits or connections made and ended, and the relay's CPU time for them."""

    count: int
    seconds: float
    cpu_ns: int

    @property
    def cpu_us_each(self) -> float:
        return self.cpu_ns / self.count / 1e3

    @property
    def per_cpu_second(self) -> float:
        return self.count / (self.cpu_ns / 1e9)


@dataclass(frozen=True, slots=True)
class Idle:
    """Private memory of the relay before and after `count` connections with a reservation each had come to rest."""

    count: int
    before_kib: int
    after_kib: int
    idle_cpu_ns_per_s: int

    @property
    def kib_each(self) -> float:
        return (self.after_kib - self.before_kib) / self.count


@dataclass(frozen=True, slots=True)
class Generator:
    """The load generator; its runs take turns, so one at a time."""

    programs: Programs

    def bulk(
        self,
        relay: Relay,
        *,
        frame: int = LARGEST_FRAME,
        circuits: int = 1,
        pairs: int = 1,
        both_ways: bool = False,
        warmup: float = 0.3,
        seconds: float = 1.0,
    ) -> Bulk:
        """As many bytes as go through `circuits` circuits over `pairs` pairs of connections."""
        options = ["--frame", frame, "--circuits", circuits, "--pairs", pairs]
        options += ["--warmup", warmup, "--seconds", seconds, *(["--both"] if both_ways else [])]
        return Bulk(**self._run("bulk", relay, options))

    def round_trips(
        self, relay: Relay, *, size: int = 64, beside: int = 0, window: int = 0, seconds: float = 1.0
    ) -> RoundTrips:
        """Messages of `size` bytes to and fro; `beside`: while a second circuit moves frames of that size.

        `window` fixes the receive windows, in bytes; 0 lets them grow as go's do.
        """
        options = ["--frame", size, "--seconds", seconds]
        options += ["--beside", beside] if beside else []
        options += ["--window", window] if window else []
        return RoundTrips(**self._run("rtt", relay, options))

    def circuits(self, relay: Relay, count: int, *, pairs: int = 4, depth: int = 16) -> Churn:
        """Circuits opened and closed on existing connections, `depth` at a time on each of `pairs` pairs."""
        return Churn(**self._run("circuits", relay, ["--count", count, "--pairs", pairs, "--depth", depth]))

    def connections(self, relay: Relay, count: int, *, identify: bool = False, depth: int = 16) -> Churn:
        """Connections made and closed, `depth` at a time, from 32 addresses."""
        options = ["--count", count, "--depth", depth, "--sources", 32, *(["--identify"] if identify else [])]
        return Churn(**self._run("conns", relay, options))

    def idle(self, relay: Relay, count: int) -> Idle:
        """`count` connections with a reservation each, from 250 addresses, left alone for some seconds."""
        options = ["--count", count, "--depth", 64, "--sources", 250, "--warmup", 2, "--seconds", 5]
        return Idle(**self._run("idle", relay, options))

    def open_and_seal(self, frame: int, mib: int = 300) -> float:
        """CPU seconds per GB that OpenSSL needs to open and seal frames of this many bytes in memory."""
        out = self._finish(start([self.programs.reference, "aead", str(frame), str(mib)], cpu=RELAY_CPU))
        return float(out["cpu_ns"]) / float(out["bytes"])

    def arithmetic(self, count: int = 500) -> float:
        """How many Noise XX responders' arithmetic libsodium does in a second of CPU time."""
        out = self._finish(start([self.programs.reference, "arithmetic", str(count)], cpu=RELAY_CPU))
        return float(out["count"]) / (float(out["cpu_ns"]) / 1e9)

    def _run(self, what: str, relay: Relay, options: list[Any]) -> dict[str, Any]:
        command: list[str | Path] = [
            self.programs.load,
            what,
            "--relay",
            relay.address,
            "--pid",
            str(relay.pid),
            *map(str, options),
        ]
        command += ["--reference"] if relay.name.startswith("reference") else []
        return self._finish(start(command, cpu=LOAD_CPU, stderr=subprocess.PIPE))

    def _finish(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        try:
            out, complaints = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            out, complaints = process.communicate()
        if process.returncode:
            raise AssertionError(f"{process.args!r} failed: {(complaints or b'').decode()}")
        measured: dict[str, Any] = json.loads(out)
        return measured
