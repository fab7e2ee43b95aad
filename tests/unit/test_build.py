"""The repository holds together: what is built is importable, documented and free of Python below."""

import importlib
import importlib.metadata
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import towpath

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "native").glob("*.pyx"))
COMPILED = re.findall(r"^    ([a-z_.]+)\)?$", (ROOT / "src" / "CMakeLists.txt").read_text(), re.MULTILINE)


def run_dev(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "dev", *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_the_installed_version_is_the_source_version() -> None:
    assert importlib.metadata.version("towpath") == towpath.__version__


@pytest.mark.parametrize("name", MODULES)
def test_every_native_source_is_an_importable_module_of_that_name(name: str) -> None:
    module = importlib.import_module(f"towpath._native.{name}")
    assert module.__file__ is not None
    assert module.__file__.endswith(".so")


@pytest.mark.parametrize("name", COMPILED)
def test_what_is_to_be_compiled_runs_compiled(name: str) -> None:
    assert (ROOT / "src" / "towpath" / f"{name.replace('.', '/')}.py").is_file()
    module = importlib.import_module(f"towpath.{name}")
    assert module.__file__ is not None
    assert module.__file__.endswith(".so")


def test_the_core_knows_nothing_of_python() -> None:
    for path in (ROOT / "native" / "core").rglob("*.[ch]"):
        assert "Python.h" not in path.read_text(), path


def test_the_core_keeps_no_mutable_globals() -> None:
    """Each extension module has a copy of the core of its own, so a global would be several."""
    library = ROOT / "build" / "dev" / "native" / "core" / "libtowpath_core.a"
    symbols = subprocess.run(["objdump", "-t", library], capture_output=True, text=True, check=True).stdout
    assert re.findall(r" O \.(?:data|bss|tdata|tbss)\s+\w+ (\w+)", symbols) == []


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dht"]]
    explained = (ROOT / "docs" / "dependencies.md").read_text()
    names = [re.split(r"[~=<>\[]", requirement)[0] for requirement in wanted]
    assert [name for name in names if f"| {name} |" not in explained] == []


@pytest.mark.parametrize("command", ["run", "demo", "test", "bench", "lint", "fuzz"])
def test_dev_names_the_commands_of_the_contract(command: str) -> None:
    assert re.search(rf"^  {command}\b", run_dev("help").stdout, re.MULTILINE)


def test_dev_refuses_an_unknown_command_as_wrong_usage() -> None:
    result = run_dev("dance")
    assert result.returncode == 2
    assert "usage" in result.stderr


def test_ci_starts_the_script_that_people_start() -> None:
    assert "./dev test" in (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / "dev", os.X_OK)
