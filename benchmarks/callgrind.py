"""Counts instructions with callgrind, per shared object, so that the cipher's can be left out.

Counts repeat: hashes are fixed, symbols bound at start, and copies are made in vectors.
"""

import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.tools import require

CIPHERS: Final = ("libcrypto", "libsodium")
_OBJECT: Final = re.compile(r"ob=\((\d+)\)(?: (.*))?")
_REPEATABLE: Final = {
    "PYTHONHASHSEED": "0",
    "LD_BIND_NOW": "1",
    # Valgrind counts `rep movsb` by the byte.
    "GLIBC_TUNABLES": "glibc.cpu.x86_rep_movsb_threshold=1073741824",
}
_POSITIONS: Final = tuple("0123456789+-*")
_PATIENCE: Final = 600.0


def within(function: str, command: Sequence[str | Path]) -> Mapping[str, int]:
    """Instructions that `command` executes inside `function`, callees included, by shared object."""
    return _profiles([f"--toggle-collect={function}"], command)[-1]


def between(function: str, command: Sequence[str | Path]) -> list[Mapping[str, int]]:
    """Instructions by shared object that `command` executes up to each call of `function`, from the one before."""
    return _profiles([f"--dump-before={function}"], command)[:-1]


def _profiles(options: Sequence[str], command: Sequence[str | Path]) -> list[Mapping[str, int]]:
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory, "profile")
        done = subprocess.run(
            [require("valgrind"), "--tool=callgrind", f"--callgrind-out-file={out}", *options, *map(str, command)],
            env=os.environ | _REPEATABLE,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"{command} failed under callgrind:\n{done.stderr[-2000:]}")
        parts = sorted(out.parent.glob("profile.*"), key=lambda path: int(path.suffix[1:]))
        return [by_object(path.read_text()) for path in (*parts, out)]


def by_object(profile: str) -> Mapping[str, int]:
    """Sums a callgrind profile's own costs by shared object; what a call costs inclusively is not added twice."""
    names: dict[str, str] = {}
    totals: Counter[str] = Counter()
    current = ""
    called = False
    for line in profile.splitlines():
        if match := _OBJECT.fullmatch(line):
            current = names.setdefault(match[1], Path(match[2] or "").name)
        elif line.startswith("calls="):
            called = True
        elif line.startswith(_POSITIONS):
            if not called:
                totals[current] += int(line.split()[1])
            called = False
        elif match := re.match(r"cob=\((\d+)\) (.*)", line):
            names.setdefault(match[1], Path(match[2]).name)
    return totals


def without_ciphers(counted: Mapping[str, int]) -> int:
    """The sum over all objects but the cipher libraries."""
    return sum(count for name, count in counted.items() if not name.startswith(CIPHERS))
