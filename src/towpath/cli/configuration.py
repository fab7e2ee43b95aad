"""`towpath config`: the settings of a node, or of a data directory when none runs."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from towpath.cli import UsageError
from towpath.cli.changing import current, in_words, say, write
from towpath.cli.options import Data, Json
from towpath.cli.output import print_json, print_table
from towpath.errors import SettingsError
from towpath.settings import Settings

__all__ = ["app"]

app = App(name="config", help="Show and change the settings of this node.")


@app.command
def show(
    *,
    origin: Annotated[
        bool, Parameter(negative="", show_default=False, help="Tell where each value comes from.")
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List every setting: those that the running node goes by, else those that the next one will.

    A later source wins: the default of the mode, DIR/config.toml, the environment (TOWPATH_RELAY__MODE), --set on the
    command line, a change while the node runs.
    """
    settings, running = current(data)
    if as_json:
        print_json(
            {key: {name: row[name] for name in ("value", "source")} for key, row in settings.items()}
            if origin
            else {key: row["value"] for key, row in settings.items()}
        )
        return
    rows = [{"key": key, "value": in_words(row["value"]), "from": row["source"]} for key, row in settings.items()]
    print_table(rows, ("key", "value", "from") if origin else ("key", "value"), "")
    if origin:
        print("\nA later source wins: default, config.toml, environment, --set, a change while the node runs.")
        print("These are the settings " + ("that the running node goes by." if running else "of the next node."))


@app.command
def get(key: str, /, *, data: Data = None, as_json: Json = False) -> None:
    """Print the value of one setting."""
    try:
        Settings.load(environ={}).get(key)
    except SettingsError as e:
        raise UsageError(str(e)) from e
    value = current(data)[0][key]["value"]
    if as_json:
        print_json({key: value})
    else:
        print(in_words(value))


@app.command(name="set")
def change(key: str, value: str, /, *, data: Data = None, as_json: Json = False) -> None:
    """Change one setting: of the running node, at once where that is possible, and in DIR/config.toml."""
    say(write(data, {key: value}), as_json=as_json)


@app.command
def unset(*keys: str, data: Data = None, as_json: Json = False) -> None:
    """Give settings back to their defaults: of the running node, and in DIR/config.toml."""
    if not keys:
        raise UsageError("name the settings to give back; `towpath config show --origin` lists those that were set")
    say(write(data, dict.fromkeys(keys)), as_json=as_json)
