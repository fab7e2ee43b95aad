"""`towpath mode`, `pause` and `resume`: whether the node relays."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from cyclopts import Parameter

from towpath.cli import options
from towpath.cli.changing import current, position_in_words, say, write
from towpath.cli.options import Data, Json
from towpath.cli.output import print_json
from towpath.cli.places import data_directory
from towpath.control.client import ask, change
from towpath.errors import NotRunning

__all__ = ["mode", "pause", "resume"]

_DOES: Final = {
    "client": "it relays for nobody",
    "cooperative": "it relays for others within limits; `towpath limit` shows and changes them",
    "dedicated": "it relays for others as its only job; `towpath limit` shows and changes what limits it",
}


def mode(
    mode: Annotated[
        Literal["client", "cooperative", "dedicated"] | None,
        Parameter(
            show_default=False,
            help="client: relay for nobody. cooperative: relay within a volunteer's limits. dedicated: relay as its "
            "only job, without limits but those you set. Left out: show the mode.",
        ),
    ] = None,
    /,
    *,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Switch relaying for others on or off, at once and for good.

    Switched off, open circuits get `relay.drain_grace` (a minute) to end. Without a running node it says what the next
    one will do. `towpath pause` stops relaying for a while instead.
    """
    if mode is not None:
        written = write(data, {"relay.mode": mode})
        now = f" It is {position_in_words(written.now)}." if written.now else ""
        say(written, f"The mode is {mode}: {_DOES[mode]}.{now}", as_json=as_json)
        return
    try:
        status = ask(data_directory(data), "/v1/status")
    except NotRunning:
        status = {"mode": current(data)[0]["relay.mode"]["value"], "state": "off", "why": "no node is running"}
    if as_json:
        print_json({name: status.get(name) for name in ("mode", "state", "why", "until")})
        return
    print(f"The mode is {status['mode']}: {_DOES[status['mode']]}. It is {position_in_words(status)}.")


def pause(
    time: Annotated[
        float | None,
        Parameter(
            converter=options.seconds,
            n_tokens=1,
            metavar="TIME",
            show_default=False,
            help="How long, such as 30m or 2h. Left out: until `towpath resume`.",
        ),
    ] = None,
    /,
    *,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Stop relaying for others for a while; a restart does not end it.

    Open circuits get `relay.drain_grace` (a minute) to end. What this node itself uses goes on.
    """
    _print(change(data_directory(data), "POST", "/v1/pause", {"time": time}), as_json=as_json)


def resume(*, data: Data = None, as_json: Json = False) -> None:
    """End a pause."""
    _print(change(data_directory(data), "POST", "/v1/resume", {}), as_json=as_json)


def _print(position: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        print_json(position)
        return
    sentence = position_in_words(position)
    print(f"{sentence[:1].upper()}{sentence[1:]}.")
    if position["state"] in ("paused", "draining"):
        print("`towpath resume` ends the pause.")
