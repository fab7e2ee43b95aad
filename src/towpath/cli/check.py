"""`towpath check`: can others reach this node?"""

from __future__ import annotations

from typing import Any, Final

from towpath.cli.options import Data, Json
from towpath.cli.output import print_json, print_table, waiting
from towpath.cli.places import data_directory
from towpath.control.client import change
from towpath.log import short_peer_id

__all__ = ["check"]

_TIMEOUT_S: Final = 90.0
"""The router and up to three nodes for each address are given their time."""


def check(*, data: Data = None, as_json: Json = False) -> None:
    """Say whether others can reach this node, and what to do if not.

    Asks up to three other nodes, in different networks, to connect to each address it may have.
    """
    directory = data_directory(data)
    with waiting("asking other nodes to connect …"):
        found: dict[str, Any] = change(directory, "POST", "/v1/check", {}, timeout=_TIMEOUT_S)
    if as_json:
        print_json(found)
        return
    print(found["sentence"])
    rows = [
        {
            "address": row["address"],
            "origin": row["origin"],
            "server": short_peer_id(said["server"]),
            "answer": said["answer"],
        }
        for row in found["addresses"]
        for said in row["answers"]
    ]
    if rows:
        print()
        print_table(rows, ("address", "origin", "server", "answer"), "")
