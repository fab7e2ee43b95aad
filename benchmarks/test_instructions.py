"""Instructions per relayed frame, in towpath's session and in the C reference, over the same bytes, without the cipher.

Both read recorded bytes from memory: towpath through an endpoint with a circuit between two peers in memory
(benchmarks/replay_session.py), the reference by `reference replay`. Counted by callgrind over nothing but that, after
as many frames to warm up. The ratio may exceed the one in benchmarks/instructions.json by 3%; `--renew` writes that
file anew.
"""

import json
import sys
from pathlib import Path
from typing import Final

import pytest

from benchmarks import callgrind
from benchmarks.conftest import Judge
from benchmarks.generator import KIB, LARGEST_FRAME
from benchmarks.programs import Programs
from benchmarks.replay_session import RECORDING_KEY
from benchmarks.results import Bound, Row

pytestmark = pytest.mark.timeout(600)

_EXPECTED: Final = Path(__file__).with_name("instructions.json")
_TOLERANCE: Final = 1.03
_FRAMES: Final = {"64 KiB": (LARGEST_FRAME, 48), "16 KiB": (16 * KIB, 160), "1 KiB": (KIB, 1600)}
"""Bytes of a frame, and how many are counted; twice as many stay within one window."""
_MARK: Final = "getppid"


def test_instructions_per_frame(built: Programs, judge: Judge, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    plan = [f"{frame}:{count}" for frame, count in _FRAMES.values()]
    parts = callgrind.between(_MARK, [sys.executable, "-m", "benchmarks.replay_session", tmp_path, *plan])
    assert len(parts) == 2 * len(_FRAMES)
    ours, theirs = {}, {}
    for (size, (frame, count)), part in zip(_FRAMES.items(), parts[1::2], strict=True):
        ours[size] = callgrind.without_ciphers(part) / count
        replay: list[str | Path] = [built.reference, "replay", tmp_path / str(frame), RECORDING_KEY.hex()]
        theirs[size] = callgrind.without_ciphers(callgrind.within("replay_bytes", replay)) / count
    ratios = {size: round(ours[size] / theirs[size], 4) for size in _FRAMES}
    if pytestconfig.getoption("renew"):
        _EXPECTED.write_text(json.dumps(ratios, indent=2) + "\n")
    expected: dict[str, float] = json.loads(_EXPECTED.read_text())
    judge(
        *(
            Row(
                "towpath",
                f"instructions per frame of {size}, without the cipher",
                "",
                ours[size],
                reference=theirs[size],
                ratio=ratios[size],
                bound=Bound(round(expected[size] * _TOLERANCE, 4), expected[size]),
            )
            for size in _FRAMES
        )
    )
