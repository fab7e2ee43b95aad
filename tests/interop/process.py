"""One peer process of the matrix: starting it, waiting for the JSON lines it prints, ending it.

A peer ends when its standard input closes, so none outlives the tests that started it.
"""

import json
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Any, Self

Event = Mapping[str, Any]


class PeerFailed(AssertionError):
    """A peer reported an error, ended, or did not say in time what was expected of it."""


class Peer:
    """A running peer. `name` is for messages; times are seconds."""

    def __init__(self, name: str, command: list[str], *, terminate: bool = False) -> None:
        """Starts `command`. With `terminate` the peer is ended by SIGTERM and not by its standard input."""
        self.name = name
        self._terminate = terminate
        self._events: list[Event] = []
        self._ended = False
        self._changed = threading.Condition()
        self._complaints = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed by stop()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints, text=True
        )
        self._reader = threading.Thread(target=self._read, name=f"reader of {name}", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        code = self.stop()
        if kind is None and code != 0:
            raise PeerFailed(f"{self.name} ended with exit code {code}")

    @property
    def running(self) -> bool:
        """Whether the process has neither ended nor closed its standard output."""
        return not self._ended and self._process.poll() is None

    def mark(self) -> int:
        """A position in the peer's events, for `wait(after=…)`."""
        with self._changed:
            return len(self._events)

    def wait(self, event: str, *, after: int = 0, timeout: float = 60.0, **fields: object) -> Event:
        """The first event of that name, with these values, at or behind the position `after`.

        Raises PeerFailed when the peer says `error` or `failed` there first, ends, or stays silent.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            position = after
            while True:
                for said in self._events[position:]:
                    if said["event"] == event and fields.items() <= said.items():
                        return said
                    if said["event"] in ("error", "failed"):
                        raise PeerFailed(self._story(f"reported {said}", event))
                position = len(self._events)
                if self._ended:
                    raise PeerFailed(self._story("ended", event))
                if not self._changed.wait(deadline - time.monotonic()):
                    raise PeerFailed(self._story(f"was silent for {timeout:g} s", event))

    def ask_to_end(self) -> None:
        """Begins what `stop` completes, so that several peers can end at the same time."""
        assert self._process.stdin is not None
        if self._process.stdin.closed:
            return
        self._process.stdin.close()
        if self._terminate:
            self._process.send_signal(signal.SIGTERM)

    def stop(self, timeout: float = 10.0) -> int:
        """Ends the peer, by force if it does not comply; its exit code."""
        self.ask_to_end()
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._complaints.close()
        return code

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                said = {"event": "error", "message": f"not JSON: {line[:200]!r}"}
            with self._changed:
                self._events.append(said)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _story(self, what: str, awaited: str) -> str:
        self._complaints.seek(0)
        complaints = self._complaints.read()[-3000:]
        events = "\n  ".join(str(each) for each in self._events[-12:])
        return f"{self.name} {what} while {awaited!r} was awaited; it said\n  {events}\nand on stderr\n{complaints}"
