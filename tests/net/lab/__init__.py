"""A network on one machine, for tests: hosts in namespaces of their own, lines with queues and delays between them.

`with Lab() as lab` makes hosts and links; everything in it ends with the block. Needs root, iproute2 and nftables;
without them the calling test is skipped.

- `World` is all that is public: hosts everywhere, and homes whose routers translate addresses.
- `home_line` builds one home with a slow line before the rest of the world.
- `RunningNode`, `light` and `towpath` are towpath's own commands on a host; `Relay`, `Peer` and `connect` load a line.
- `Capture` sees every packet of a host, `Witness` every message that a node decrypts.
"""

from tests.net.lab.capture import Capture, Packet, capturing
from tests.net.lab.delay import Delay
from tests.net.lab.home import Home, home_line
from tests.net.lab.namespaces import Host, Lab
from tests.net.lab.pinging import Pings, ping
from tests.net.lab.programs import Program, RunningNode, Silent, eventually, light, towpath
from tests.net.lab.relaying import Peer, Relay, connect
from tests.net.lab.witness import Witness
from tests.net.lab.world import Household, Line, World

__all__ = [
    "Capture",
    "Delay",
    "Home",
    "Host",
    "Household",
    "Lab",
    "Line",
    "Packet",
    "Peer",
    "Pings",
    "Program",
    "Relay",
    "RunningNode",
    "Silent",
    "Witness",
    "World",
    "capturing",
    "connect",
    "eventually",
    "home_line",
    "light",
    "ping",
    "towpath",
]
