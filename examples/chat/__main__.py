"""`python -m examples.chat [FRIEND]…`: see README.md beside this file."""

from __future__ import annotations

import argparse
import getpass

import uvloop

from towpath import Node, Settings

from .app import Chat
from .messages import LONGEST_NAME, printable


async def chat(options: argparse.Namespace) -> None:
    """A node for as long as the screen is open."""
    given = {"relay.mode": "client", "log.level": "error"}
    relays = {"discovery.bootstrap": options.relay} if options.relay else {}
    async with Node(Settings.load(given | relays, data=options.data), data=options.data) as node:
        await Chat(node, printable(options.name)[:LONGEST_NAME], options.friend).run_async()


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.chat", description="Talk without a server.")
    parser.add_argument("friend", nargs="*", help="the address that a friend's chat shows, or a peer id")
    parser.add_argument("--name", default=getpass.getuser(), help="what others call you")
    parser.add_argument("--relay", action="append", default=[], metavar="MULTIADDR", help="a relay to be reached at")
    parser.add_argument("--data", metavar="DIR", help="keep your keys here; without it you are new each time")
    uvloop.run(chat(parser.parse_args()))


if __name__ == "__main__":
    main()
