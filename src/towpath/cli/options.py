"""The options that several commands share, each with its help, and how their values are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from towpath.errors import AddressError
from towpath.settings.entries import bootstrap_multiaddr
from towpath.settings.values import Count, HostPort, Time, read_host_port

__all__ = ["Bootstrap", "Data", "Full", "Json", "Listen", "Service", "count", "seconds"]


def seconds(_type: Any, tokens: Sequence[Any]) -> float | None:
    """Reads a time such as 90s, 2h or unlimited."""
    found: float | None = _checked(Time(1).read, tokens[0].value)
    return found


def count(_type: Any, tokens: Sequence[Any]) -> int | None:
    """Reads a number from 1, or unlimited."""
    found: int | None = _checked(Count(1).read, tokens[0].value)
    return found


def _multiaddrs(_type: Any, tokens: Sequence[Any]) -> Any:
    return [_checked(bootstrap_multiaddr, token.value) for token in tokens]


def _host_port(_type: Any, tokens: Sequence[Any]) -> HostPort:
    at: HostPort = _checked(read_host_port, tokens[0].value)
    return at


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
        converter=_multiaddrs,
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
