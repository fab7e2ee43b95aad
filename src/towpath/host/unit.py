"""The text of towpath's systemd unit, from the template in packaging/systemd, which every wheel carries.

Pure but for reading the template. In it `@NAME@` stands for a value; the lines between `@if A B` and `@end` are
kept when all the conditions named hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from towpath.errors import TowpathError

__all__ = ["NAME", "STATE", "TEMPLATE", "Unit", "data_of", "render"]

NAME: Final = "towpath.service"
STATE: Final = Path("/var/lib/towpath")
"""Where a system service that has an account of its own keeps its data."""
TEMPLATE: Final = Path(__file__).parent / "systemd" / "towpath.service.in"
_PRIVATE: Final = ("/home", "/root", "/run/user")


@dataclass(frozen=True)
class Unit:
    """What a unit says. All paths are absolute."""

    system: bool
    """For the machine's service manager, else for the user's own."""
    data: Path
    python: Path
    account: str | None = None
    """Whose the data is (system only); None: an account that lives only while the node runs, with its data in STATE."""
    mounts: bool = True
    """May the manager give the node a view of the file system of its own?"""

    def text(self) -> str:
        """The unit file; TowpathError when a path cannot stand in one."""
        conditions = {
            "system": self.system,
            "user": not self.system,
            "dynamic": self.system and self.account is None,
            "account": self.system and self.account is not None,
            "mounts": self.mounts or self.system,
        }
        if re.search(r"[\"'\\]", str(self.python)):
            raise TowpathError(
                f"systemd starts no program with quotes in its path: {self.python}; install towpath elsewhere"
            )
        # The colon keeps systemd from replacing $words.
        command = (f":{self.python}", "-P", "-m", "towpath", "run", "--data", str(self.data))
        values = {
            "COMMAND": " ".join(map(_word, command)),
            "WRITABLE": _word(str(self.data)),
            "DATA": str(self.data),
            "ACCOUNT": self.account or "",
        }
        return render(TEMPLATE.read_text("utf-8"), values, [name for name, holds in conditions.items() if holds])

    def unreadable(self) -> Path | None:
        """What keeps the account of a system service from starting this Python: a path that it cannot reach."""
        if not self.system or self.account is not None:
            return None
        for start in dict.fromkeys((self.python, self.python.resolve(), Path(__file__).resolve())):
            for path in (start, *start.parents):
                if str(path) in _PRIVATE or not path.stat().st_mode & (0o001 if path.is_dir() else 0o004):
                    return path
        return None


def data_of(text: str) -> Path | None:
    """The data directory that a unit was written for; None for a unit that was not written by towpath."""
    found = re.search(r"^\[X-Towpath\]\nData=(/.*)$", text, re.MULTILINE)
    return None if found is None else Path(found[1])


def render(template: str, values: Mapping[str, str], conditions: Iterable[str]) -> str:
    """The template with its values, and with those of its conditional lines whose conditions hold."""
    holding = set(conditions)
    lines: list[str] = []
    keep = True
    for line in template.splitlines():
        if line.startswith("@if "):
            keep = set(line.split()[1:]) <= holding
        elif line == "@end":
            keep = True
        elif keep:
            lines.append(line)
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], "\n".join(lines)) + "\n"


def _word(text: str) -> str:
    """A word as systemd.syntax(7) reads it: quoted when it must be, specifiers doubled."""
    if not text.isprintable():
        raise TowpathError(f"{text!r} holds characters that cannot stand in a unit; choose another --data directory")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return escaped if re.fullmatch(r"[\w./%+:=@,-]+", escaped, re.ASCII) else f'"{escaped}"'
