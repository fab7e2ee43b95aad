"""Every command but `run`: their options, and the help. What they do is in the modules they import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import App, Parameter

from towpath import __version__
from towpath.cli import UsageError
from towpath.errors import AddressError
from towpath.settings.values import Count, HostPort, Time, peer_multiaddr, read_host_port

__all__ = ["dispatch"]

_HELP = "Reach each other through relays that any of us can be."

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
identities = App(name="id", help="Show, save or bring in who this node is.")
config = App(name="config", help="Show and change the settings of this node.")
app.command(identities)
app.command(config)


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


def _multiaddr(_type: Any, tokens: Sequence[Any]) -> Any:
    return [_checked(peer_multiaddr, token.value) for token in tokens]


def _host_port(_type: Any, tokens: Sequence[Any]) -> HostPort:
    at: HostPort = _checked(read_host_port, tokens[0].value)
    return at


def _time(_type: Any, tokens: Sequence[Any]) -> float | None:
    seconds: float | None = _checked(Time(1).read, tokens[0].value)
    return seconds


def _count(_type: Any, tokens: Sequence[Any]) -> int | None:
    count: int | None = _checked(Count(1).read, tokens[0].value)
    return count


def _checked(read: Any, text: str) -> Any:
    try:
        return read(text)
    except AddressError as e:
        raise ValueError(str(e)) from e


Data = Annotated[Path | None, Parameter(metavar="DIR", help="The node's directory (TOWPATH_DATA).", show_default=False)]
Json = Annotated[bool, Parameter(name="--json", negative="", show_default=False, help="Print JSON.")]
Full = Annotated[bool, Parameter(name="--full", negative="", show_default=False, help="Print peer ids in full.")]
Bootstrap = Annotated[
    list[str] | None,
    Parameter(
        name="--bootstrap",
        converter=_multiaddr,
        negative="",
        metavar="MULTIADDR",
        help="A relay to use, ending in /p2p/ID; besides those in the settings.",
    ),
]
Service = Annotated[
    HostPort,
    Parameter(
        converter=_host_port, n_tokens=1, accepts_keys=False, help="HOST:PORT of the service, such as 127.0.0.1:80."
    ),
]
Listen = Annotated[
    HostPort,
    Parameter(
        name="--listen",
        converter=_host_port,
        n_tokens=1,
        accepts_keys=False,
        metavar="HOST:PORT",
        help="Where to listen.",
    ),
]


@app.command
def run(*options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]) -> int:
    """Run the node, in the foreground (`towpath run --help`)."""
    from towpath.cli.run import run as run_node

    return run_node(options)


@app.command
def status(*, data: Data = None, json: Json = False) -> None:
    """Show what the node is doing."""
    from towpath.cli.queries import status as show

    show(data, as_json=json)


@app.command
def circuits(*, data: Data = None, json: Json = False, full: Full = False) -> None:
    """List the circuits that are open."""
    from towpath.cli.queries import rows

    rows("circuits", data, as_json=json, full=full)


@app.command
def reservations(*, data: Data = None, json: Json = False, full: Full = False) -> None:
    """List the reservations that peers hold here, and those this node holds."""
    from towpath.cli.queries import rows

    rows("reservations", data, as_json=json, full=full)


@app.command
def peers(*, data: Data = None, json: Json = False, full: Full = False) -> None:
    """List the peers this node is connected to."""
    from towpath.cli.queries import rows

    rows("peers", data, as_json=json, full=full)


@app.command
def relays(*, data: Data = None, json: Json = False, full: Full = False) -> None:
    """List the relays this node knows, and why it uses them or not."""
    from towpath.cli.queries import rows

    rows("relays", data, as_json=json, full=full)


@app.command
def share(
    service: Service,
    /,
    *,
    once: Annotated[bool, Parameter(negative="", show_default=False, help="Serve one connection, then stop.")] = False,
    expires: Annotated[
        float | None,
        Parameter(converter=_time, n_tokens=1, metavar="TIME", help="When the ticket stops working: 90s, 2h, 7d."),
    ] = None,
    allow: Annotated[
        list[str] | None, Parameter(negative="", metavar="PEER", help="Only this peer id may connect; repeatable.")
    ] = None,
    bootstrap: Bootstrap = None,
    data: Data = None,
    json: Json = False,
) -> int:
    """Make a TCP service reachable through relays; prints the ticket for `open`."""
    from towpath.cli.tunnels import share as share_service

    return share_service(
        service,
        once=once,
        expires=expires,
        allow=allow or [],
        bootstrap=bootstrap or [],
        data=data,
        as_json=json,
    )


@app.command(name="open")
def open_(
    ticket: Annotated[str, Parameter(help="The text that `share` printed.")],
    /,
    *,
    listen: Listen = HostPort("127.0.0.1", 0),  # noqa: B008 - immutable
    bootstrap: Bootstrap = None,
    data: Data = None,
    json: Json = False,
) -> int:
    """Reach the service behind a ticket: listens here and carries every connection there."""
    from towpath.cli.tunnels import open_ticket

    return open_ticket(ticket, listen=listen, bootstrap=bootstrap or [], data=data, as_json=json)


@app.command
def ping(
    peer: Annotated[str, Parameter(help="A peer id, or an address that ends in /p2p/ID.")],
    /,
    *,
    count: Annotated[
        int | None, Parameter(converter=_count, n_tokens=1, metavar="N", help="How many times; or unlimited.")
    ] = 4,
    via: Annotated[
        str | None, Parameter(metavar="MULTIADDR", help="The relay to go through: a multiaddr that ends in /p2p/ID.")
    ] = None,
    bootstrap: Bootstrap = None,
    data: Data = None,
    json: Json = False,
) -> int:
    """Measure the round trip to a peer, end to end."""
    from towpath.cli.ping import ping as ping_peer

    return ping_peer(peer, count=count, via=via, bootstrap=bootstrap or [], data=data, as_json=json)


@identities.default
def id_(*, data: Data = None, json: Json = False) -> None:
    """Show the ids of this node, which are made if there are none yet."""
    from towpath.cli.identities import show

    show(data, as_json=json)


@identities.command(name="export")
def id_export(file: Path, /, *, data: Data = None) -> None:
    """Save the keys of this node to a file, to keep or to move it elsewhere."""
    from towpath.cli.identities import export

    export(file, data)


@identities.command(name="import")
def id_import(file: Path, /, *, data: Data = None) -> None:
    """Bring in keys that `export` saved. A node that has other keys keeps them, and this fails."""
    from towpath.cli.identities import bring_in

    bring_in(file, data)


@config.command(name="show")
def config_show(*, data: Data = None, json: Json = False) -> None:
    """List every setting: its value, and where it comes from."""
    from towpath.cli.configuration import show

    show(data, as_json=json)


@config.command(name="get")
def config_get(key: str, /, *, data: Data = None, json: Json = False) -> None:
    """Print the value of one setting."""
    from towpath.cli.configuration import get

    get(key, data, as_json=json)


@config.command(name="set")
def config_set(key: str, value: str, /, *, data: Data = None, json: Json = False) -> None:
    """Change one setting in DIR/config.toml; a running node takes it up when it is started again."""
    from towpath.cli.configuration import change

    change(key, value, data, as_json=json)
