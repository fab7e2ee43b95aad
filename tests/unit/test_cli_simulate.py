"""`towpath simulate`: what it prints and writes, how it is interrupted, and what is told when matplotlib is missing."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from towpath.cli import main
from towpath.cli.printed import LINES, ONCE, SCHEMAS
from towpath.cli.simulate import _until_interrupted


def fits(value: Any, name: str) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    Draft202012Validator(schema).validate(value)


def test_a_scenario_is_run_told_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["simulate", "day", "--nodes", "40", "--seed", "3", "--out", str(tmp_path), "--no-plots", "--json"])
    out, err = capsys.readouterr()
    assert (code, err, out.count("\n")) == (0, "", 1)
    found = json.loads(out)
    fits(found, str(ONCE["simulate"]))
    assert (found["scenario"], found["nodes"], found["seed"], found["complete"]) == ("day", 40, 3, True)
    assert {Path(file).name for file in found["files"]} == {"timeline.csv", "summary.json", "summary.txt"}
    assert main(["simulate", "day", "--nodes", "40", "--seed", "3", "--out", str(tmp_path), "--no-plots"]) == 0
    told = capsys.readouterr().out
    assert f"{found['events']:,} events" in told
    assert (tmp_path / "summary.txt").read_text().splitlines()[1:] == told.splitlines()[1:-1]


@pytest.mark.slow
def test_an_attack_is_run_told_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["simulate", "attack", "hot-spot", "--nodes", "50", "--out", str(tmp_path), "--no-plots", "--json"])
    out, _ = capsys.readouterr()
    assert code == 0
    fits(json.loads(out), LINES["simulate attack NAME"][0])
    assert (tmp_path / "figures.csv").exists()


@pytest.mark.parametrize("words", [["day"], ["attack", "hot-spot"]])
def test_where_nothing_can_be_written_is_said_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["simulate", *words, "--no-plots", "--out", str(tmp_path / "file" / "out")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("towpath: cannot write into ")
    assert err.count("\n") == 1
    assert "--out" in err


def test_everything_that_can_be_simulated_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for row in found:
        fits(row, ONCE["simulate --list"][0])
    names = [row["name"] for row in found]
    assert {"rollout", "churn", "flash-crowd", "capacity", "attack self-dealing"} <= set(names)
    assert main(["simulate", "--list"]) == 0
    assert "rollout" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name a scenario"),
        (["rolout"], "rollout"),
        (["attack"], "self-dealing"),
        (["attack", "nothing"], "self-dealing"),
        (["day", "again"], "not understood"),
        (["day", "--nodes", "0"], "at least 1"),
    ],
)
def test_wrong_words_name_the_right_ones(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", *words]) == 2
    assert told in capsys.readouterr().err


def test_without_matplotlib_it_says_what_to_do_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "matplotlib" else found(name, *a))
    assert main(["simulate", "day", "--nodes", "40", "--out", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "towpath[sim]" in told
    assert "--no-plots" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_matplotlib_is_loaded_only_for_plots(tmp_path: Path) -> None:
    code = f"""
import sys
from towpath.cli import main
assert main(["simulate", "day", "--nodes", "30", "--out", {str(tmp_path)!r}, "--no-plots"]) == 0
assert "matplotlib" not in sys.modules and "numpy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100, capture_output=True)


def test_the_first_interrupt_ends_it_in_good_order_and_the_second_at_once() -> None:
    asked: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with _until_interrupted(lambda: asked.append("stop")):
        signal.raise_signal(signal.SIGINT)
        assert asked == ["stop"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
