"""`towpath ledger`: how this node's credits came about, and why somebody is accepted or refused."""

from __future__ import annotations

import textwrap
from typing import Annotated, Any, Final
from urllib.parse import quote

from cyclopts import Parameter

from towpath.cli.options import Data, Json
from towpath.cli.output import columns, print_json, print_table, quantity
from towpath.cli.places import data_directory
from towpath.control.client import ask

__all__ = ["ledger"]

_COLUMNS: Final = ("peer", "earned", "spent", "carried", "accepted")
_WIDEST: Final = 100


def ledger(
    peer: Annotated[str | None, Parameter(help="a peer, account, relay, IP address or network")] = None,
    /,
    *,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show the credits of this node, how they came about, and whom it carried for.

    With PEER: why that one is accepted or refused here, with the numbers. PEER is a peer id or account (in full, or as
    lists show it), an IP address, or a network such as 192.0.2.0/24; of a relay that this node uses it says why the
    relay refused, and how this node stands with it.
    """
    directory = data_directory(data)
    path = "/v1/ledger" if peer is None else f"/v1/ledger/{quote(peer, safe='')}"
    found: dict[str, Any] = ask(directory, path)
    if as_json:
        print_json(found)
        return
    if peer is not None:
        print(f"{found['peer']}:")
    for sentence in found["sentences"]:
        print(textwrap.fill(sentence, min(columns(), _WIDEST), initial_indent="  ", subsequent_indent="    "))
    if peer is None:
        print()
        told = [row | {"carried": quantity(row["carried"])} for row in found["rows"]]
        print_table(told, _COLUMNS, "This relay carried for nobody yet.")
        if found["rows"]:
            print("\n`towpath ledger PEER` says of each why. Credits are in MiB.")
