"""Every command: its name, where it is, and its line in the help. A command's module is loaded when it is called.

A command is a function with cyclopts annotations (`cli.options` has the shared ones); it prints, and returns None or an
exit code. A command with commands of its own is a cyclopts App.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple

import cyclopts
from cyclopts import App, Group, Parameter

from towpath import __version__
from towpath.cli import UsageError

__all__ = ["COMMANDS", "Command", "app", "dispatch"]

_HELP: Final = "Reach each other through relays that any of us can be."
_NODE: Final = Group("The node", sort_key=1)
_SEE: Final = Group("See what it does", sort_key=2)
_CHANGE: Final = Group("Change what it does, while it runs; kept when it stops", sort_key=3)
_REACH: Final = Group("Reach somebody", sort_key=4)


class Command(NamedTuple):
    """One command."""

    name: str
    at: str
    """`module:function` or `module:app`."""
    help: str
    group: Group


COMMANDS: Final = (
    Command("run", "towpath.cli.app:run", "Run the node, in the foreground (`towpath run --help`).", _NODE),
    Command("id", "towpath.cli.identities:app", "Show, save or bring in who this node is.", _NODE),
    Command("config", "towpath.cli.configuration:app", "Show and change the settings of this node.", _NODE),
    Command("service", "towpath.cli.service:app", "Let systemd run the node: at boot, watched and confined.", _NODE),
    Command("status", "towpath.cli.queries:status", "Show what the node is doing.", _SEE),
    Command("circuits", "towpath.cli.queries:circuits", "List the circuits that are open.", _SEE),
    Command(
        "reservations",
        "towpath.cli.queries:reservations",
        "List the reservations that peers hold here, and those this node holds.",
        _SEE,
    ),
    Command("peers", "towpath.cli.queries:peers", "List the peers this node is connected to.", _SEE),
    Command(
        "relays",
        "towpath.cli.queries:relays",
        "List the relays this node knows, and why it uses them or not.",
        _SEE,
    ),
    Command(
        "share",
        "towpath.cli.tunnels:share",
        "Make a TCP service reachable through relays; prints the ticket for `open`.",
        _REACH,
    ),
    Command(
        "open",
        "towpath.cli.tunnels:open_",
        "Reach the service behind a ticket: listens here and carries every connection there.",
        _REACH,
    ),
    Command("ping", "towpath.cli.ping:ping", "Measure the round trip to a peer, end to end.", _REACH),
)

app = App(
    name="towpath",
    help=_HELP,
    version=__version__,
    help_format="plaintext",
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    help_on_error=False,
    suppress_keyboard_interrupt=False,
)
for place, command in enumerate(COMMANDS):
    app.command(command.at, name=command.name, help=command.help, group=command.group, sort_key=place)


def dispatch(words: Sequence[str]) -> int:
    """Runs one command; its exit code. UsageError when the words make no command."""
    try:
        code = app(list(words))
    except cyclopts.CycloptsError as e:
        sentence = " ".join(str(e).split())
        raise UsageError(f"{sentence.rstrip('.')}; `towpath {_command(words)}--help` shows how to write it") from e
    return code if isinstance(code, int) else 0


def _command(words: Sequence[str]) -> str:
    known = [word for word in words[:1] if word in app]
    return "".join(f"{word} " for word in known)


def run(*options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]) -> int:
    """Run the node, in the foreground (`towpath run --help`)."""
    from towpath.cli.run import run as run_node

    return run_node(options)
