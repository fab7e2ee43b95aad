"""The settings of a running node: changed by its owner, read again from the file, and kept for the next start.

A later layer wins: defaults of the mode, DIR/config.toml, the environment, `--set` and its like, and what was changed
while the node runs. A change that is kept goes into the file; an environment variable or `--set` of the same key no
longer counts in this run, but wins again at the next start, which is said.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from towpath.settings import FILE_NAME, Settings
from towpath.settings.schema import KEYS

__all__ = ["NEXT_START", "WAITING", "LiveSettings", "differing", "variable"]

NEXT_START: Final = ("native.", "network.workers", "discovery.bootstrap", "web.", "metrics.", "log.")
"""Beginnings of the keys that a node alone cannot obey while it runs; a program around it may (Node.on_settings)."""
WAITING: Final = tuple(beginning for beginning in NEXT_START if beginning not in ("metrics.", "log."))
"""Beginnings of the keys whose changes wait for the next start under `towpath run`, which obeys the other two's."""


def variable(key: str) -> str:
    """The environment variable that sets a key."""
    return "TOWPATH_" + key.upper().replace(".", "__")


class LiveSettings:
    """What a node was started with, and what became of it. `data` is the directory of the file, None for no file."""

    def __init__(self, settings: Settings, data: Path | None) -> None:
        self._data = data
        self._path = None if data is None else data / FILE_NAME
        # What stands neither in the file nor in the environment: given by whoever started the node.
        self._overrides = {
            key: source
            for key, (_, source) in settings.given.items()
            if source != str(self._path) and not source.startswith("environment ")
        }
        self._started_with = settings
        self._superseded: set[str] = set()
        self._passing: dict[str, tuple[object, str]] = {}

    def changed(self, now: Settings, changes: Mapping[str, object], *, source: str, persist: bool) -> Settings:
        """`now` with these changes. Raises SettingsError; nothing is remembered or written yet."""
        return now.changed(changes, source=str(self._path) if persist and self._path is not None else source)

    async def keep(self, changes: Mapping[str, object], *, source: str, persist: bool) -> None:
        """Remembers changes that took effect; with `persist` in the file. SettingsError when it cannot be written."""
        if persist and self._data is not None:
            # Loaded only now: a node that nobody changes needs no TOML writer.
            from towpath.settings.file import change

            await asyncio.to_thread(change, self._data, dict(changes), source=source)
        for key, value in changes.items():
            if persist and self._data is not None:
                self._superseded.add(key)
                self._passing.pop(key, None)
            else:
                self._passing[key] = (value, source)

    def overriding(self, keys: Iterable[str]) -> dict[str, str]:
        """What will win over the file at the next start, for those of the keys where something will."""
        found = {}
        for key in keys:
            if key in self._overrides:
                found[key] = self._overrides[key]
            elif variable(key) in os.environ:
                found[key] = f"environment {variable(key)}"
        return found

    async def read_again(self) -> Settings:
        """The settings that the file gives now, under what was changed since the start. Raises SettingsError."""
        settings = await asyncio.to_thread(self._load)
        for key, source in self._overrides.items():
            if key not in self._superseded:
                settings = settings.changed({key: self._started_with.written(key)}, source=source)
        for key, (value, source) in self._passing.items():
            settings = settings.changed({key: value}, source=source)
        return settings

    def _load(self) -> Settings:
        hidden = {variable(key) for key in self._superseded}
        environ = {name: value for name, value in os.environ.items() if name not in hidden}
        return Settings.load(data=self._data, environ=environ)


def differing(before: Settings, after: Settings) -> list[str]:
    """The keys whose values differ."""
    return [key for key in KEYS if before.get(key) != after.get(key)]
