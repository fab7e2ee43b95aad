"""Every command: its name, where it is, and its line in the help. A command's module is loaded when it is called.

A command is a function with cyclopts annotations (`cli.options` has the shared ones); it prints, and returns None or an
exit code. A command with commands of its own is a cyclopts App.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import cyclopts
from cyclopts import App, Group

from towpath import __version__
from towpath.cli import UsageError

__all__ = ["COMMANDS", "Command", "app", "dispatch"]

_HELP: Final = "Reach each other through relays that any of us can be."
_NODE: Final = Group("The node", sort_key=1)
_SEE: Final = Group("See what it does", sort_key=2)
_CHANGE: Final = Group("Change what it does: at once, and kept over restarts", sort_key=3)
_REACH: Final = Group("Reach somebody", sort_key=4)
_SIMULATE: Final = Group("Try what the whole network does", sort_key=5)


class Command(NamedTuple):
    """One command. Its own `--help` shows the docstring of the function, or the help of the App."""

    name: str
    help: str
    """Its line in the help of them all."""
    at: str
    """`module:function` or `module:app`, in `towpath.cli`."""
    group: Group


COMMANDS: Final = (
    Command("run", "Run the node, in the foreground (`towpath run --help`).", "starting:run", _NODE),
    Command("id", "Show, save or bring in who this node is.", "identities:app", _NODE),
    Command("config", "Show and change the settings of this node.", "configuration:app", _NODE),
    Command("service", "Let systemd run the node: at boot, watched and confined.", "service:app", _NODE),
    Command("web", "Open the node's page in a browser.", "page:web", _NODE),
    Command("doctor", "Say what is wrong with it or its machine, and how to mend it.", "doctor:doctor", _NODE),
    Command("completion", "Make a shell complete commands and options.", "completion:completion", _NODE),
    Command("status", "Show what it is doing, and today's numbers.", "queries:status", _SEE),
    Command("check", "Ask others whether they can reach it, and say what to do if not.", "check:check", _SEE),
    Command("top", "Watch that live: bandwidth, limits, circuits, events.", "top:top", _SEE),
    Command("circuits", "List the circuits that are open.", "queries:circuits", _SEE),
    Command(
        "reservations", "List the reservations that peers hold here, and those it holds.", "queries:reservations", _SEE
    ),
    Command("peers", "List the peers it is connected to.", "queries:peers", _SEE),
    Command("relays", "List the relays it knows, and why it uses them or not.", "queries:relays", _SEE),
    Command("ledger", "Show credits, and why a peer is accepted or refused, or this node was.", "ledger:ledger", _SEE),
    Command("reputation", "Show what others say of it, and what it measured of relays.", "reputation:reputation", _SEE),
    Command("mode", "Switch relaying for others on or off.", "switches:mode", _CHANGE),
    Command("pause", "Stop relaying for a while, such as 2h.", "switches:pause", _CHANGE),
    Command("resume", "End a pause.", "switches:resume", _CHANGE),
    Command("limit", "Show or set the caps: rate, hour, day, month, circuits …", "limits:limit", _CHANGE),
    Command("schedule", "Show or set when it relays, hour by hour of the week.", "week:app", _CHANGE),
    Command("share", "Make a TCP service reachable through relays: prints a ticket.", "tunnels:share", _REACH),
    Command("open", "Reach the service behind a ticket.", "tunnels:open_", _REACH),
    Command("ping", "Measure the round trip to a peer, end to end.", "ping:ping", _REACH),
    Command("simulate", "Simulate a network of thousands, and attacks on it.", "simulate:simulate", _SIMULATE),
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
    app.command(f"towpath.cli.{command.at}", name=command.name, help=command.help, group=command.group, sort_key=place)


def dispatch(words: Sequence[str]) -> int:
    """Runs one command; its exit code. UsageError when the words make no command."""
    if any(words[:1] == [command.name] and not command.at.endswith(":app") for command in COMMANDS):
        # Its own help is all that its docstring says.
        app[words[0]].help = None
    try:
        code = app(list(words))
    except cyclopts.UnknownCommandError as e:
        # Without the library's list of some of them.
        sentence = re.sub(r" Available commands:.*", "", " ".join(str(e).split()))
        raise UsageError(f"{sentence} `towpath {_command(words)}--help` lists them") from e
    except cyclopts.CycloptsError as e:
        sentence = " ".join(str(e).split())
        raise UsageError(f"{sentence.rstrip('.')}; `towpath {_command(words)}--help` shows how to write it") from e
    return code if isinstance(code, int) else 0


def _command(words: Sequence[str]) -> str:
    known = [word for word in words[:1] if word in app]
    return "".join(f"{word} " for word in known)
