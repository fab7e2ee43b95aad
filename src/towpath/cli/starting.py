"""`towpath run` as the other commands see it: its options, for shells to complete. What it does is in cli.run, which
starts without any of this.
"""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from towpath.cli.options import Bootstrap, Data, Json

__all__ = ["run"]


def run(
    *,
    data: Data = None,
    mode: Annotated[
        Literal["client", "cooperative", "dedicated"] | None, Parameter(help="What the node does for others.")
    ] = None,
    listen: Annotated[list[str] | None, Parameter(negative="", metavar="MULTIADDR", help="Where it listens.")] = None,
    bootstrap: Bootstrap = None,
    set_: Annotated[
        list[str] | None, Parameter(name="--set", negative="", metavar="KEY=VALUE", help="Any setting.")
    ] = None,
    no_web: Annotated[bool, Parameter(negative="", help="Serve no web page.")] = False,
    as_json: Json = False,
) -> int:
    """Run the node, in the foreground."""
    from towpath.cli.run import run as run_node

    words = [] if data is None else ["--data", str(data)]
    words += [] if mode is None else ["--mode", mode]
    for name, values in (("--listen", listen), ("--bootstrap", bootstrap), ("--set", set_)):
        words += [word for value in values or () for word in (name, value)]
    words += ["--no-web"] * no_web + ["--json"] * as_json
    return run_node(words)
