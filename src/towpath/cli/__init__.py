"""The command line. `run` stays free of everything only the other commands need, so that a relay starts
fast and stays small.

Exit codes: 0 done; 1 failed, with a sentence on stderr; 2 wrong usage; 3 no node is running.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

from towpath.errors import NotRunning, SettingsError, TowpathError

__all__ = ["main"]

DONE: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2
NOT_RUNNING: Final = 3
SOURCES: Final = ("--set", "the command line")
"""How settings that were given on the command line say where they come from."""


class UsageError(TowpathError):
    """The command line itself is wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. `arguments` are without the program's name."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words[:1] == ["run"]:
            from towpath.cli.run import run

            return run(words[1:])
        from towpath.cli.app import dispatch

        return dispatch(words)
    except UsageError as e:
        return _fail(WRONG_USAGE, e)
    except SettingsError as e:
        return _fail(WRONG_USAGE if e.source in SOURCES else FAILED, e)
    except NotRunning as e:
        return _fail(NOT_RUNNING, e)
    except TowpathError as e:
        return _fail(FAILED, e)
    except BrokenPipeError:
        # Whoever read our output has enough of it; the interpreter must not try to flush it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _fail(code: int, error: TowpathError) -> int:
    print(f"towpath: {error}", file=sys.stderr)
    return code
