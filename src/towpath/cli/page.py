"""`towpath web`: opens the page of the running node."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from cyclopts import Parameter

from towpath.cli.options import Data, Json
from towpath.cli.output import print_json, print_line
from towpath.cli.places import data_directory
from towpath.control.client import ask, ready
from towpath.errors import TowpathError
from towpath.web.place import address_to_keep, address_to_open

__all__ = ["web"]


def web(
    *,
    data: Data = None,
    print_: Annotated[
        bool, Parameter(name="--print", negative="", show_default=False, help="Print the address, open nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Open the node's page in a browser.

    On a machine without a screen the address is printed. What is printed holds the token that lets whoever has it do
    everything with this node: treat it like a password.
    """
    directory = data_directory(data)
    # Whether one runs: its ready.json may outlive it.
    ask(directory, "/v1/status")
    url = (ready(directory) or {}).get("web")
    if not isinstance(url, str):
        raise TowpathError(f"this node serves no page: {_why_none(directory)}")
    address = address_to_keep(directory, url)
    if as_json:
        print_json({"url": address})
    elif print_:
        print_line(address)
    elif _has_screen(os.environ) and webbrowser.open(address_to_open(directory, url)):
        print_line(f"The page is open in your browser: {url}")
    else:
        print_line(f"No browser could be opened here. Open this address, and show it to nobody:\n  {address}")
        port = urlsplit(url).port
        print_line(f"From another machine, first: ssh -L {port}:127.0.0.1:{port} THIS-MACHINE")


def _why_none(directory: Path) -> str:
    said = [event["sentence"] for event in ask(directory, "/v1/log?limit=1000") if event["kind"] == "page_not_served"]
    # The log is kept over restarts; what the settings say now is asked for first.
    if ask(directory, "/v1/settings")["web.listen"]["value"] == "none" or not said:
        return "start it without --no-web, and with web.listen set to a HOST:PORT"
    return f"{said[-1]}; then start it again"


def _has_screen(environ: Any) -> bool:
    return sys.platform != "linux" or any(environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
