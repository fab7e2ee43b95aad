"""`towpath config`: the settings of a data directory."""

from __future__ import annotations

import json

from cyclopts import App

from towpath.cli import UsageError
from towpath.cli.options import Data, Json
from towpath.cli.output import print_json, print_table
from towpath.cli.places import data_directory
from towpath.errors import SettingsError
from towpath.settings import Settings
from towpath.settings.schema import KEYS
from towpath.settings.values import TomlValue

__all__ = ["app"]

app = App(name="config", help="Show and change the settings of this node.")


@app.command
def show(*, data: Data = None, as_json: Json = False) -> None:
    """List every setting: its value, and where it comes from."""
    settings = Settings.load(data=data_directory(data))
    if as_json:
        print_json({name: settings.written(name) for name in KEYS})
        return
    rows = [{"key": name, "value": _text(settings.written(name)), "from": settings.source(name)} for name in KEYS]
    print_table(rows, ("key", "value", "from"), "")


@app.command
def get(key: str, /, *, data: Data = None, as_json: Json = False) -> None:
    """Print the value of one setting."""
    settings = Settings.load(data=data_directory(data))
    try:
        value = settings.written(key)
    except SettingsError as e:
        raise UsageError(str(e)) from e
    if as_json:
        print_json({key: value})
    else:
        print(_text(value))


@app.command(name="set")
def change(key: str, value: str, /, *, data: Data = None, as_json: Json = False) -> None:
    """Change one setting in DIR/config.toml; a running node takes it up when it is started again."""
    from towpath.settings.file import change as change_file

    directory = data_directory(data)
    settings = change_file(directory, {key: value}, source="the command line")
    if as_json:
        print_json({key: settings.written(key)})
        return
    print(f"{key} = {_text(settings.written(key))}; a node that is running takes it up when it is started again.")
    if any(later.name == key for later in settings.without_effect_yet()):
        print(f"This version checks {key}, but does not act on it yet.")


def _text(value: TomlValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)
