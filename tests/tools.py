"""Outside programs and abilities of the machine that a test needs: found, or the test is skipped by name.

In continuous integration (CI=true) nothing may be missing, so there the test fails instead.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

# ./dev puts tools that come as Python packages beside the interpreter; ip and nft live in sbin, which
# is not on everybody's PATH.
_PLACES = [str(Path(sys.executable).parent), *os.get_exec_path(), "/usr/sbin", "/sbin"]


def missing(what: str) -> NoReturn:
    """Ends the calling test because the machine lacks `what`: a skip, in CI a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing in CI: {what}", pytrace=False)
    pytest.skip(f"missing: {what}")


def require(program: str) -> str:
    """The absolute path of `program`; without it the calling test or fixture ends as `missing` says."""
    return shutil.which(program, path=os.pathsep.join(_PLACES)) or missing(f"the program {program}")


def cache() -> Path:
    """The directory outside the checkout that keeps what is slow to make, such as the interop peers."""
    chosen = os.environ.get("TOWPATH_CACHE")
    path = Path(chosen) if chosen else Path.home() / ".cache" / "towpath"
    path.mkdir(parents=True, exist_ok=True)
    return path
