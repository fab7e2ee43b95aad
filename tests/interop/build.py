"""Builds the foreign peers, once per version of their sources, into a cache outside the checkout.

Called by the fixtures and, to warm the cache, as a script. The cache is `$TOWPATH_CACHE/interop`
(default `~/.cache/towpath/interop`); a peer lives there in a directory named after its language and
a hash of its sources, which appears only when the build has succeeded.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SOURCES = Path(__file__).parent / "peers"
BUILD_SECONDS = 1800


class ToolMissing(Exception):
    """The machine lacks a toolchain, or has one that is too old; the text says which."""


class BuildFailed(Exception):
    """A toolchain is there and did not succeed; the text ends with its last words."""


def cache_directory() -> Path:
    root = os.environ.get("TOWPATH_CACHE") or Path.home() / ".cache" / "towpath"
    return Path(root).expanduser() / "interop"


def peer_command(language: str) -> list[str]:
    """The command that starts the peer of `go`, `rust` or `js`, building it first when its sources are new."""
    need_tools(language)
    place = build_once(language, [_fingerprint(SOURCES / language)], _BUILDERS[language])
    return ["node", str(place / "peer.js")] if language == "js" else [str(place / "peer")]


def build_once(name: str, inputs: Iterable[str], build: Callable[[Path], None]) -> Path:
    """The directory that `build` filled for these inputs, now or earlier."""
    key = hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:16]
    place = cache_directory() / f"{name}-{key}"
    with _lock(cache_directory() / f"{name}.lock"):
        if not place.exists():
            partial = place.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            build(partial)
            partial.rename(place)
    return place


def run_build(language: str, source: Path, program: Path) -> None:
    """Builds the go or rust program in `source`, which the build may write to."""
    if language == "go":
        _run(["go", "build", "-trimpath", "-buildvcs=false", "-o", str(program), "."], source, **_GO)
    else:
        # The target directory outlives a version of the program, so that a changed one does not compile libp2p anew.
        target = cache_directory() / "rust-target"
        with _lock(cache_directory() / "rust-target.lock"):
            _run(["cargo", "build", "--release"], source, CARGO_TARGET_DIR=str(target))
            shutil.copy2(target / "release" / "peer", program)


def need_tools(language: str) -> None:
    """Raises ToolMissing unless the toolchain of the language is there and new enough."""
    for tool, argument, least in _TOOLS[language]:
        path = shutil.which(tool)
        wanted = ".".join(map(str, least))
        if path is None:
            raise ToolMissing(f"the {language} peer needs {tool} {wanted} or newer, which is not on PATH")
        said = subprocess.run([path, argument], capture_output=True, text=True, check=False).stdout
        match = re.search(r"(\d+)\.(\d+)", said)
        if match is None or (int(match[1]), int(match[2])) < least:
            raise ToolMissing(f"the {language} peer needs {tool} {wanted} or newer, and {path} is {said.strip()!r}")


# A go of 1.21 or newer fetches the toolchain that go.mod asks for by itself.
_TOOLS: Mapping[str, list[tuple[str, str, tuple[int, int]]]] = {
    "go": [("go", "version", (1, 21))],
    "rust": [("cargo", "--version", (1, 88)), ("cc", "--version", (0, 0))],
    "js": [("node", "--version", (20, 0)), ("npm", "--version", (9, 0))],
}


_GO = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}


def _fingerprint(directory: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(directory)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(command: list[str], directory: Path, **environment: str) -> None:
    done = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise BuildFailed(f"{' '.join(command)} failed in {directory}:\n{done.stdout[-4000:]}")


def _build_go(place: Path) -> None:
    run_build("go", SOURCES / "go", place / "peer")


def _build_rust(place: Path) -> None:
    # A copy, because cargo would leave its lock file beside the manifest.
    source = place / "source"
    shutil.copytree(SOURCES / "rust", source)
    run_build("rust", source, place / "peer")


def _build_js(place: Path) -> None:
    shutil.copytree(SOURCES / "js", place, dirs_exist_ok=True)
    _run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"], place)


_BUILDERS: Mapping[str, Callable[[Path], None]] = {"go": _build_go, "rust": _build_rust, "js": _build_js}


if __name__ == "__main__":
    for each in sys.argv[1:] or list(_BUILDERS):
        sys.stdout.write(f"{each}: {' '.join(peer_command(each))}\n")
