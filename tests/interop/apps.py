"""The programs of docs/apps.md, taken from the page itself: built with the manifests of the peers, and run."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

from .build import SOURCES, build_once, need_tools, peer_command, run_build

PAGE = Path(__file__).parents[2] / "docs" / "apps.md"
LANGUAGES = ("go", "rust", "js", "python")
PATIENCE = 60.0
ENVIRONMENT = os.environ | {"TOWPATH_DISCOVERY__MDNS": "false"}

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def programs() -> dict[str, str]:
    """The page's programs by language: of each, the first block."""
    found: dict[str, str] = {}
    for language, code in _BLOCK.findall(PAGE.read_text()):
        found.setdefault(language, code)
    return found


def excerpts() -> list[str]:
    """The page's other blocks of code."""
    whole = programs()
    return [code for language, code in _BLOCK.findall(PAGE.read_text()) if whole[language] != code]


def command(language: str) -> list[str]:
    """What starts the page's program of that language; builds it first when it is new."""
    code = programs()[language]
    if language == "js":
        # Beside the packages that the js peer installed.
        packages = Path(peer_command("js")[1]).parent

        def prepare(place: Path) -> None:
            (place / "node_modules").symlink_to(packages / "node_modules")
            (place / "polyfill.mjs").write_text((SOURCES / "js" / "polyfill.js").read_text())
            (place / "app.mjs").write_text(code)

        place = build_once("js-app", [str(packages), code], prepare)
        return ["node", "--import", str(place / "polyfill.mjs"), str(place / "app.mjs")]
    if language == "python":
        return [sys.executable, "-c", code]
    need_tools(language)
    manifests = {"go": ["go.mod", "go.sum"], "rust": ["Cargo.toml"]}[language]
    texts = {name: (SOURCES / language / name).read_text() for name in manifests}
    texts["main.go" if language == "go" else "src/main.rs"] = code

    def build(place: Path) -> None:
        source = place / "source"
        for name, text in texts.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
        run_build(language, source, place / "app")

    return [str(build_once(f"{language}-app", [json.dumps(texts)], build) / "app")]


class Waiting:
    """A program that waits for others; its address is the first line that it prints."""

    def __init__(self, words: list[str]) -> None:
        self._complaints = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed with it
        self._process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=self._complaints, text=True, env=ENVIRONMENT
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._complaints.close()

    def address(self) -> str:
        """Blocks until it is printed."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            self._complaints.seek(0)
            raise AssertionError(f"it ended without an address: {self._complaints.read()[-2000:]}")
        return line


def greeting(words: list[str]) -> str:
    """What a program that greets prints."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()
