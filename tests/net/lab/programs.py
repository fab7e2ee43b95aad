"""Programs on hosts of the lab that say what happens as JSON lines: towpath's own commands, and others."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.net.lab.namespaces import Host
from tests.net.lab.world import PUBLIC
from towpath.control.client import change
from towpath.errors import TowpathError

_READY_S: Final = 60.0
_ANSWER_S: Final = 60.0
"""Twenty nodes that start on one machine keep it busy for a while."""

Said = Mapping[str, Any]


class Silent(AssertionError):
    """A program ended, or did not say in time what was expected of it."""


class Program:
    """A running program whose standard output is JSON lines. `log` is the file for its standard error."""

    def __init__(
        self, host: Host, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.host = host
        self.log = log
        self._said: list[tuple[float, Said]] = []
        self._next = 0
        self._ended = False
        self._changed = threading.Condition()
        # What the owner of this machine has set is not for a node of the lab.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TOWPATH_")}
        with log.open("wb") as complaints:
            self.process = host.start(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=clean | dict(environment or {}),
            )
        threading.Thread(target=self._read, name=f"reader of {log.stem}", daemon=True).start()

    @property
    def said(self) -> list[Said]:
        """All lines so far."""
        with self._changed:
            return [line for _, line in self._said]

    def next(self, event: str | None = None, timeout: float = _READY_S, **fields: object) -> Said:
        """The next line, or the next of that event with these fields; what comes before is passed over.

        Raises Silent when the program ends or says nothing of the kind for `timeout` seconds.
        """
        return self.timed(event, timeout, **fields)[1]

    def timed(self, event: str | None = None, timeout: float = _READY_S, **fields: object) -> tuple[float, Said]:
        """As `next`, with the time (monotonic) at which it was said."""
        until = time.monotonic() + timeout
        with self._changed:
            while True:
                while self._next < len(self._said):
                    at, line = self._said[self._next]
                    self._next += 1
                    if (event is None or line.get("event") == event) and fields.items() <= line.items():
                        return at, line
                if self._ended:
                    raise Silent(self._story(f"ended with {self.process.wait()}", event))
                if not self._changed.wait(until - time.monotonic()):
                    raise Silent(self._story(f"said nothing of the kind for {timeout:g} s", event))

    def rest(self, timeout: float) -> tuple[int, list[Said]]:
        """Waits for its end; the exit code and the lines not yet read. Silent when it goes on."""
        until = time.monotonic() + timeout
        with self._changed:
            while not self._ended:
                if not self._changed.wait(until - time.monotonic()):
                    raise Silent(self._story(f"did not end within {timeout:g} s", None))
            lines = [line for _, line in self._said[self._next :]]
            self._next = len(self._said)
        return self.process.wait(), lines

    def tell(self, line: str) -> None:
        """Writes a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def kill(self) -> None:
        """Ends it at once (`kill -9`)."""
        self.process.kill()
        self.process.wait()

    def stop(self, timeout: float = 10.0) -> int:
        """Asks it to end (SIGTERM) and waits; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def complaints(self) -> str:
        """What it wrote to standard error."""
        return self.log.read_text(errors="replace")

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):  # closed with the lab
            for line in self.process.stdout:
                try:
                    said = json.loads(line)
                except ValueError:
                    said = {"not_json": line.decode(errors="replace")}
                with self._changed:
                    self._said.append((time.monotonic(), said))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _story(self, what: str, awaited: str | None) -> str:
        lines = "\n  ".join(str(line)[:300] for _, line in self._said[-12:])
        return (
            f"{self.log.stem} on {self.host.name} {what}, awaiting {awaited}; it said\n  {lines}\n"
            f"and on standard error\n{self.complaints()[-4000:]}"
        )


def towpath(host: Host, *words: str | Path, log: Path, environment: Mapping[str, str] | None = None) -> Program:
    """A command of towpath with `--json` on a host."""
    return Program(host, [sys.executable, "-m", "towpath", *words, "--json"], log, environment)


class RunningNode:
    """`towpath run` on a host, with its files in `directory`. Returns when it is ready; without `wait` at once, for
    many to start together, and then `wait` must be called.

    The settings are those of a lab (its addresses count as public, no port mapping) and then `settings`, as `--set`
    takes them. A node that relays listens at the host's address.
    """

    def __init__(
        self,
        host: Host,
        directory: Path,
        *,
        mode: str = "client",
        bootstrap: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        port: int = 4001,
        wait: bool = True,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.host = host
        self.data = directory / "data"
        self.mode = mode
        self._log = directory / "run.log"
        self._environment = environment
        self._words: list[str | Path] = ["run", "--data", self.data, "--mode", mode, "--no-web"]
        if mode != "client":
            self._words += ["--listen", f"/ip4/{host.address}/tcp/{port}"]
        for address in bootstrap:
            self._words += ["--bootstrap", address]
        fitting = PUBLIC | {"network.port_mapping": "false", "log.addresses": "true"} | dict(settings or {})
        for key, value in fitting.items():
            self._words += ["--set", f"{key}={value}"]
        self.program = self._started()
        if wait:
            self.wait()

    def _started(self) -> Program:
        return towpath(self.host, *self._words, log=self._log, environment=self._environment)

    def wait(self) -> None:
        """Returns when it is ready."""
        ready = self.program.next("ready")
        self.pid: int = ready["pid"]
        self.peer_id: str = ready["peer_id"]
        self.relay_id: str = ready["relay_id"]
        self.address: str = ready["listen"][0] if ready["listen"] else ""
        """Its relay's multiaddr, with its id."""

    def again(self) -> None:
        """Starts it once more with the same files, after it ended."""
        self.program = self._started()
        self.wait()

    def status(self) -> dict[str, Any]:
        """What `towpath status --json` shows."""
        found: dict[str, Any] = change(self.data, "GET", "/v1/status", timeout=_ANSWER_S)
        return found

    def rows(self, what: str) -> list[dict[str, Any]]:
        """What `towpath circuits`, `peers`, `relays` or `reservations` show."""
        found: list[dict[str, Any]] = change(self.data, "GET", f"/v1/{what}", timeout=_ANSWER_S)
        return found

    def kill(self) -> None:
        """Ends it at once (`kill -9`)."""
        self.program.kill()

    def stop(self) -> int:
        """Ends it as its owner would; the exit code."""
        return self.program.stop()

    def log(self) -> str:
        """What it wrote to standard error."""
        return self.program.complaints()

    def alive(self) -> bool:
        """Does it run and answer?"""
        with contextlib.suppress(TowpathError):
            return self.program.process.poll() is None and bool(self.status())
        return False


def light(
    host: Host,
    directory: Path,
    *words: str | Path,
    settings: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Program:
    """`share`, `open` or `ping` with a data directory of its own, whose settings are a lab's and `settings`."""
    data = directory / "data"
    data.mkdir(parents=True, exist_ok=True)
    fitting = PUBLIC | {"network.port_mapping": "false"} | dict(settings or {})
    given = {f"TOWPATH_{key.upper().replace('.', '__')}": value for key, value in fitting.items()}
    log = directory / f"{words[0]}.log"
    return towpath(host, *words, "--data", data, log=log, environment=given | dict(environment or {}))


def eventually(what: str, true: Any, timeout: float = 30.0, every: float = 0.1) -> Any:
    """Waits until `true()` is, and returns what it gave."""
    until = time.monotonic() + timeout
    while not (found := true()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(every)
    return found
