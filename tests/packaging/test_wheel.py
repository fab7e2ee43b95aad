"""The wheel installs into an empty environment and uses nothing but the libraries it carries."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import towpath
from tests.unit.test_libs import libsodium_copies

pytestmark = [pytest.mark.full, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]

IMPORT_ALL = """
import importlib, pathlib, towpath, towpath._native
for path in pathlib.Path(towpath._native.__file__).parent.glob("*.so"):
    importlib.import_module("towpath._native." + path.name.split(".")[0])
mapped = {line.split()[-1] for line in open("/proc/self/maps") if "libcrypto" in line}
print(*mapped)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and what it depends on, nothing else."""
    place = tmp_path_factory.mktemp("wheel")
    tools = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["sh", ROOT / "packaging" / "wheel.sh", place / "dist"], check=True, env=tools)
    (wheel,) = (place / "dist").glob("towpath-*.whl")
    subprocess.run([sys.executable, "-m", "venv", place / "empty"], check=True)
    python = place / "empty" / "bin" / "python"
    constraints = ROOT / "packaging" / "constraints.txt"
    subprocess.run([python, "-m", "pip", "install", "-q", "-c", constraints, wheel], check=True)
    return python


def test_the_wheel_names_a_platform_that_other_machines_are(installed: Path) -> None:
    (wheel,) = (installed.parents[2] / "dist").glob("*.whl")
    assert "manylinux" in wheel.name


def test_pysodium_uses_the_libsodium_in_the_wheel(installed: Path) -> None:
    (library,) = libsodium_copies(installed)
    assert Path(library).parent.name == "towpath.libs"


def test_every_native_module_imports_with_the_libcrypto_in_the_wheel(installed: Path) -> None:
    run = subprocess.run([installed, "-c", IMPORT_ALL], capture_output=True, text=True, check=True)
    (library,) = run.stdout.split()
    assert Path(library).parent.name == "towpath.libs"


def test_the_command_starts_and_tells_the_version(installed: Path) -> None:
    command = [installed.parent / "towpath", "--version"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.split()[-1] == towpath.__version__


def test_the_wheel_carries_the_unit_of_the_service(installed: Path) -> None:
    command = [installed.parent / "towpath", "service", "install", "--user", "--dry-run", "--data", "/srv/towpath"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"ExecStart=:{installed} -P -m towpath run --data /srv/towpath\n" in run.stdout
