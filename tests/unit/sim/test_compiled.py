"""The simulator is compiled; what it computes is what its source says, number for number."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import towpath

_FROM_SOURCE = """
import importlib.util, pathlib, sys
class Sources:
    @staticmethod
    def find_spec(name, path=None, target=None):
        file = pathlib.Path(sys.argv[1], *name.split(".")).with_suffix(".py")
        if name.startswith("towpath.") and file.is_file():
            return importlib.util.spec_from_file_location(name, file)
sys.meta_path.insert(0, Sources)
"""
_RUN = """
import json, sys
from towpath.client import choice
from towpath.sim import users
from towpath.sim.report import summary
from towpath.sim.running import Runner
from towpath.sim.scenarios import scenario
result = Runner(scenario(sys.argv[2]), int(sys.argv[3]), 5).run()
rows = [row for part in result.parts for row in part.rows]
print(json.dumps([users.__file__, choice.__file__, rows, summary(result) | {"seconds": 0}]))
"""


def came_to(before: str, scenario: str, nodes: int) -> list[object]:
    arguments = [str(Path(towpath.__file__).parents[1]), scenario, str(nodes)]
    done = subprocess.run(
        [sys.executable, "-c", before + _RUN, *arguments], capture_output=True, text=True, check=True, timeout=100
    )
    found: list[object] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "nodes"), [("rollout", 40), ("flash-crowd", 120)])
def test_compiled_or_not_a_run_comes_to_the_same(scenario: str, nodes: int) -> None:
    *files, rows, told = came_to("", scenario, nodes)
    assert [str(file)[-3:] for file in files] == [".so"] * 2
    *files, rows_from_source, told_from_source = came_to(_FROM_SOURCE, scenario, nodes)
    assert [str(file)[-3:] for file in files] == [".py"] * 2
    assert rows == rows_from_source
    assert told == told_from_source
