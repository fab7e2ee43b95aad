"""`python -m fuzz.python TARGET SECONDS`: changes a target's seeds at random and checks what becomes of them.

An input that breaks a property is written to build/fuzz, and replays with `python -m fuzz.python TARGET FILE`.
"""

from __future__ import annotations

import hashlib
import importlib
import random
import sys
import time
from pathlib import Path

_CHANGES = 6
_KEPT = 4096


def main(arguments: list[str]) -> int:
    """Exit code 1 when a property does not hold."""
    target = importlib.import_module(f"fuzz.python.{arguments[0]}")
    if Path(arguments[1]).is_file():
        target.check(Path(arguments[1]).read_bytes())
        return 0
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    pool: list[bytes] = target.seeds()
    began = time.monotonic()
    runs = 0
    while time.monotonic() - began < float(arguments[1]):
        data = changed(chance, pool)
        runs += 1
        try:
            target.check(data)
        except Exception as error:  # noqa: BLE001 - whatever a decoder raises is what is looked for
            found = Path("build/fuzz") / f"crash-{hashlib.sha1(data, usedforsecurity=False).hexdigest()[:16]}"
            found.parent.mkdir(parents=True, exist_ok=True)
            found.write_bytes(data)
            print(f"{type(error).__name__}: {error}; {found}, seed {seed}, run {runs}")
            return 1
        # What came of some changes is a seed for the next ones: several steps lead further than one.
        if len(pool) < _KEPT or chance.random() < 0.01:
            pool.append(data)
            if len(pool) > _KEPT:
                pool.pop(chance.randrange(_KEPT))
    print(f"{runs} runs in {time.monotonic() - began:.1f} s, {len(pool)} inputs kept, seed {seed}")
    return 0


def changed(chance: random.Random, pool: list[bytes]) -> bytes:
    """One input of the pool after a few random changes."""
    data = bytearray(chance.choice(pool))
    for _ in range(chance.randint(1, _CHANGES)):
        at = chance.randint(0, len(data))
        match chance.randrange(6):
            case 0 if data:
                data[at % len(data)] ^= 1 << chance.randrange(8)
            case 1 if data:
                data[at % len(data)] = chance.choice(
                    b"\x00\x17\x18\x19\x1a\x1b\x40\x58\x60\x78\x80\xa0\xc0\xf6\xf9\xff"
                )
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 9))
            case 3:
                del data[at : at + chance.randint(1, 9)]
            case 4:
                other = chance.choice(pool)
                begin = chance.randint(0, len(other))
                data[at:at] = other[begin : begin + chance.randint(1, 40)]
            case _:
                piece = data[at : at + chance.randint(1, 20)]
                data[at:at] = piece * chance.randint(1, 3)
    return bytes(data[:20000])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
