"""The browser of these tests, and axe-core: found or made once, else the test ends as `tools.missing` says."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from tests import tools

_HERE = Path(__file__).parent
_NAMES = ("chromium", "google-chrome")
REBOUND = "rebound.example"
"""A name that leads to this machine, for this browser."""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The system's Chromium, without a window. Its sandbox is off, as it does without one for root."""
    path = next((found for name in _NAMES if (found := shutil.which(name))), None) or tools.require(_NAMES[0])
    async with async_playwright() as playwright:
        args = ["--disable-dev-shm-usage", f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1"]
        # What Chromium does of its own accord, such as looking for updates, is switched off by Playwright.
        browser = await playwright.chromium.launch(executable_path=path, args=args)
        try:
            yield browser
        finally:
            await browser.close()


def axe_source() -> str:
    """axe-core, as a script. Installed from npm when this version was not before."""
    place = tools.cache() / "axe"
    place.mkdir(exist_ok=True)
    found = place / "node_modules" / "axe-core" / "axe.min.js"
    wanted = (_HERE / "package-lock.json").read_bytes()
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = place / "installed.json"
        if not found.exists() or not kept.exists() or kept.read_bytes() != wanted:
            npm = tools.require("npm")
            for name in ("package.json", "package-lock.json"):
                shutil.copyfile(_HERE / name, place / name)
            # npm is a script of node's, which may be beside it only.
            path = os.pathsep.join([str(Path(npm).parent), *os.get_exec_path()])
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            subprocess.run(command, cwd=place, env=os.environ | {"PATH": path}, check=True, timeout=300)
            kept.write_bytes(wanted)
    return found.read_text("utf-8")
