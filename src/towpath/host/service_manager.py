"""The node as a service of systemd: installing its unit, removing it, asking how it does. Blocking.

`Systemd` is one manager, the machine's or the user's. Everything it does to the machine goes through `systemctl`
and one file in `units`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from towpath.errors import TowpathError
from towpath.host.unit import NAME, Unit, data_of

__all__ = ["Service", "Systemd", "can_mount", "run_program"]

_SHOWN: Final = (
    "ActiveState",
    "ActiveEnterTimestamp",
    "FragmentPath",
    "MainPID",
    "NRestarts",
    "Result",
    "StatusText",
    "UnitFileState",
)
_LINGER: Final = Path("/var/lib/systemd/linger")
Answer = tuple[int, str, str]
"""A program's exit code, and what it wrote to stdout and stderr."""


@dataclass(frozen=True)
class Service:
    """How the service does."""

    unit: Path | None
    """The unit file; None: not installed."""
    data: Path | None
    enabled: bool
    active: str
    """systemd's word: active, inactive, failed, activating …"""
    pid: int | None
    since: str
    says: str
    restarts: int
    result: str
    """systemd's word for how it last ended: success, exit-code, watchdog …"""


def run_program(words: Sequence[str]) -> Answer:
    """Runs a program to its end. TowpathError when there is no such program."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603 - no shell
    except FileNotFoundError as e:
        raise TowpathError(
            f"there is no {words[0]} here; start the node with `towpath run` in a way of your own"
        ) from e
    except subprocess.TimeoutExpired as e:
        raise TowpathError(f"`{' '.join(words)}` does not come to an end; see `journalctl -u {NAME}`") from e
    return done.returncode, done.stdout, done.stderr


def can_mount(run: Callable[[Sequence[str]], Answer] = run_program) -> bool:
    """May an ordinary user have a view of the file system of one's own here? Some distributions forbid it."""
    if shutil.which("unshare") is None:
        return False
    return run(("unshare", "--user", "--map-current-user", "--mount", "true"))[0] == 0


class Systemd:
    """A service manager: the machine's (`system`), or this user's."""

    def __init__(
        self,
        *,
        system: bool,
        units: Path | None = None,
        run: Callable[[Sequence[str]], Answer] = run_program,
    ) -> None:
        self.system: Final = system
        self._run: Final = run
        self.file: Final = (units or _units(system=system)) / NAME

    def check(self) -> None:
        """TowpathError with what to do when this manager cannot be asked."""
        self._call("show", "--property=Version")

    def installed(self) -> str | None:
        """The text of the installed unit; None: there is none. TowpathError when it is somebody else's."""
        try:
            text = self.file.read_text("utf-8")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as e:
            raise TowpathError(f"cannot read {self.file}: {e}") from e
        if data_of(text) is None:
            raise TowpathError(f"{self.file} was not written by towpath; move it away first")
        return text

    def install(self, unit: Unit, *, now: bool) -> bool:
        """Installs a unit and lets it start with the machine (or the user's session), and `now` also at once.

        A node that runs already is started again when its unit changed. False when the unit was there just so.
        """
        self.check()
        text = unit.text()
        changed = self.installed() != text
        if changed:
            _replace(self.file, text)
            self._call("daemon-reload")
        self._call("enable", NAME)
        if now:
            self._forget_failure()
            self._call("restart" if changed else "start", NAME)
        return changed

    def remove(self) -> Path | None:
        """Stops the service and takes its unit away; the data directory, which stays. None: nothing was installed."""
        self.check()
        text = self.installed()
        if text is None:
            return None
        self._call("disable", "--now", NAME)
        self.file.unlink(missing_ok=True)
        self._call("daemon-reload")
        self._forget_failure()
        return data_of(text)

    def status(self) -> Service:
        """How the service does."""
        lines = self._call("show", NAME, "--property=" + ",".join(_SHOWN)).splitlines()
        found = {name: value for name, _, value in (line.partition("=") for line in lines)}
        text = self.installed()
        return Service(
            unit=None if text is None else self.file,
            data=None if text is None else data_of(text),
            enabled=found.get("UnitFileState") == "enabled",
            active=found.get("ActiveState", ""),
            pid=int(found.get("MainPID") or 0) or None,
            since=found.get("ActiveEnterTimestamp", ""),
            says=found.get("StatusText", ""),
            restarts=int(found.get("NRestarts") or 0),
            result=found.get("Result", ""),
        )

    def lingers(self, user: str) -> bool:
        """Does this user's manager run while the user is logged out?"""
        return self.system or (_LINGER / user).exists()

    def _forget_failure(self) -> None:
        # Fails when there is nothing to forget.
        self._run((*self._systemctl, "reset-failed", NAME))

    @property
    def _systemctl(self) -> tuple[str, ...]:
        return ("systemctl",) if self.system else ("systemctl", "--user")

    def _call(self, *words: str) -> str:
        code, out, err = self._run((*self._systemctl, *words))
        if code == 0:
            return out
        said = " ".join((err or out).split())
        if "has not been booted" in said or "connect to bus" in said:
            advice = (
                "this machine is not run by systemd, so start `towpath run` in its own way"
                if self.system
                else "log in as that user (not with su or sudo), or let its services run without a login: "
                "`loginctl enable-linger USER`"
            )
            raise TowpathError(f"the service manager does not answer: {said}; {advice}")
        option = "" if self.system else "--user "
        raise TowpathError(
            f"`{' '.join((*self._systemctl, *words))}` failed: {said}; see `journalctl {option}-u {NAME}`"
        )


def _units(*, system: bool) -> Path:
    if system:
        return Path("/etc/systemd/system")
    chosen = os.environ.get("XDG_CONFIG_HOME")
    return (Path(chosen) if chosen else Path.home() / ".config") / "systemd" / "user"


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(text, "utf-8")
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as e:
        raise TowpathError(f"cannot write {path}: {e.strerror}") from e
