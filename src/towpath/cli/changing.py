"""How commands change settings: of the running node, which keeps them, else in DIR/config.toml; and how they say so."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from towpath.cli import UsageError
from towpath.cli.output import print_json
from towpath.cli.places import data_directory
from towpath.control.client import Refused, ask
from towpath.control.client import change as send
from towpath.errors import NotRunning
from towpath.settings import Settings
from towpath.settings.schema import KEYS
from towpath.settings.values import TomlValue

__all__ = ["Written", "current", "in_words", "position_in_words", "say", "write"]


class Written(NamedTuple):
    """What became of a change."""

    values: dict[str, TomlValue]
    running: bool
    applied: Sequence[str]
    at_next_start: Sequence[str]
    overridden: Mapping[str, str]
    now: dict[str, Any] | None
    """The status of the running node, after the change."""


def write(data: Path | None, changes: Mapping[str, object]) -> Written:
    """Changes settings, all or none. SettingsError or UsageError when a key or value is wrong."""
    directory = data_directory(data)
    # Checked here too, so that a wrong value reads the same whether a node runs or not.
    checked = Settings.load(environ={}).changed(changes, source="the command line")
    try:
        became = send(directory, "PATCH", "/v1/settings", dict(changes))
        now: dict[str, Any] = ask(directory, "/v1/status")
    except Refused as e:
        raise UsageError(str(e)) from e
    except NotRunning:
        from towpath.settings.file import change as change_file

        change_file(directory, changes, source="the command line")
        values = {key: checked.written(key) for key in changes}
        return Written(values, running=False, applied=(), at_next_start=list(changes), overridden={}, now=None)
    values = {key: checked.written(key) for key in changes}
    return Written(values, True, became["applied"], became["at_next_start"], became.get("overridden", {}), now)


def current(data: Path | None) -> tuple[dict[str, dict[str, Any]], bool]:
    """Every setting as `value` and `source`, and whether they are a running node's; else they are the file's."""
    directory = data_directory(data)
    try:
        found: dict[str, dict[str, Any]] = ask(directory, "/v1/settings")
    except NotRunning:
        settings = Settings.load(data=directory)
        return {key: {"value": settings.written(key), "source": settings.source(key)} for key in KEYS}, False
    return found, True


def say(written: Written, sentence: str = "", *, as_json: bool) -> None:
    """Prints what became of a change: what there is now, where it was changed, and what to mind."""
    if as_json:
        now = written.now
        position = None if now is None else {name: now.get(name) for name in ("mode", "state", "why", "until")}
        print_json({**written._asdict(), "now": position})
        return
    print(sentence or "\n".join(f"{key} is {in_words(value)}." for key, value in written.values.items()))
    if not written.running:
        print("No node is running: config.toml was changed, and `towpath run` goes by it.")
    for key in written.at_next_start if written.running else ():
        print(f"{key} takes effect when the node is started again.")
    for key, what in written.overridden.items():
        wins = "the command line (--mode, --set …), if it is the same," if what == "--set" else what
        print(f"At the next start {wins} will win over it; change that too to keep {key}.")
    for key in written.values:
        if KEYS[key].later:
            print(f"This version checks {key}, but does not act on it yet.")


def in_words(value: TomlValue) -> str:
    """A value as people write it."""
    return value if isinstance(value, str) else json.dumps(value)


def position_in_words(status: Mapping[str, Any]) -> str:
    """`relaying: relay mode is on`, with the time at which that ends."""
    from towpath.cli.view import moment

    why, until = status.get("why"), status.get("until")
    ends = f", until {moment(until)}" if until is not None else ""
    return f"{status['state']}{ends}" + (f": {why}" if why else "")
