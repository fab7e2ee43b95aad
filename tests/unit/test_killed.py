"""kill -9 at any moment: the file opens, counters lose a second at most, no quota is passed, nothing else goes back."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHILD = Path(__file__).with_name("store_under_traffic.py")
EACH = 25_000_000
"""Of the quota, for each round: so that it is used up after a third of them."""
MID_MONTH = 1_768_478_400
LOST_S = 1.0


@dataclass
class Said:
    """One line of the child."""

    at: float
    moved: int
    counted: int
    balance: int


def life(path: Path, limit: int, offset: float, seconds: float, what: str) -> tuple[dict[str, Any], list[Said], float]:
    """Lets a child live so long; what it found, what it said, and when it was killed."""
    command = [sys.executable, str(CHILD), str(path), str(limit), str(offset), what]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        found: dict[str, Any] = json.loads(child.stdout.readline())
        time.sleep(seconds)
        killed = time.monotonic()
        child.kill()
        # What is in the pipe was said before it died; the last line may be half a line.
        lines = child.stdout.read().decode().split("\n")[:-1]
    said = [
        Said(float(at), int(moved), int(counted), int(balance)) for at, moved, counted, balance in map(str.split, lines)
    ]
    return found, said, killed


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [8, pytest.param(200, marks=[pytest.mark.full, pytest.mark.timeout(3_000)])])
def test_a_killed_process_has_lost_a_second_and_passed_nothing(tmp_path: Path, rounds: int) -> None:
    path = tmp_path / "towpath.db"
    limit = EACH * rounds
    offset = MID_MONTH - time.clock_gettime(time.CLOCK_BOOTTIME)
    chance = random.Random(rounds)
    moved = used = balance = total = 0
    most_lost = 0
    for number in range(rounds):
        if number % 3 == 2:
            found, said, killed = life(path, limit, offset, chance.uniform(1.2, 2.2), "counters")
        else:
            found, said, killed = life(path, limit, offset, chance.choice([0.02, 0.3, 0.9]), "all")
        assert found["damaged"] is None
        assert found["total"] >= total, "a counter lost more than the last second"
        assert found["used"] >= max(used, moved), "what was used is forgotten"
        assert found["used"] <= min(limit, moved + number * limit // 100), "a crash costs one slice"
        assert found["balance"] >= balance, "a balance went back"
        if said:
            moved += said[-1].moved
            balance = said[-1].balance
            safe = [line.counted for line in said if line.at <= killed - LOST_S]
            total = found["total"] + (safe[-1] if safe else 0)
            most_lost = max(most_lost, said[-1].counted - (safe[-1] if safe else 0))
        used = found["used"]
        assert moved <= limit, "the quota was passed"
    assert most_lost > 100, "there was something to lose"
    assert used > 0
