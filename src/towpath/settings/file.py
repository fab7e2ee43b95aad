"""Changes DIR/config.toml, keeping its comments and order. Blocking; for the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tomlkit
from tomlkit.items import Table

from towpath import private_file
from towpath.errors import SettingsError
from towpath.settings import FILE_NAME, Settings
from towpath.settings.schema import KEYS

__all__ = ["change"]


def change(data: Path, changes: Mapping[str, object], *, source: str) -> Settings:
    """Sets keys in the file of a data directory (takes those out that are None), all or none, and returns
    the settings that it now gives.

    The whole file is checked with the changes in it before anything is written, then replaced at once.
    """
    settings = Settings.load({}, data=data, environ={}).changed(changes, source=source)
    path = data / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        document = tomlkit.parse(text)
        for name, value in changes.items():
            section, _, field = name.partition(".")
            table = document.get(section)
            if table is None:
                if value is None:
                    continue
                table = tomlkit.table()
                document[section] = table
            if not isinstance(table, Table):
                raise SettingsError(section, str(table), f"in {path} it must be a table, [{section}]", source=source)
            if value is None:
                table.pop(field, None)
            else:
                table[field] = KEYS[name].kind.write(settings.get(name))
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        private_file.replace(path, tomlkit.dumps(document).encode())
    except OSError as e:
        raise SettingsError(FILE_NAME, str(path), f"the file cannot be changed: {e.strerror}") from e
    return settings
