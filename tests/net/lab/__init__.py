"""A network on one machine, for tests: hosts in namespaces of their own, lines with queues and delays between them.

`with Lab() as lab` makes hosts and links; everything in it ends with the block. `home_line` builds the usual case: a
home with a slow line before the rest of the world. `Relay`, `Peer` and `connect` are processes on hosts. Needs root
and iproute2; without them the calling test is skipped.
"""

from tests.net.lab.delay import Delay
from tests.net.lab.home import Home, home_line
from tests.net.lab.namespaces import Host, Lab
from tests.net.lab.pinging import Pings, ping
from tests.net.lab.relaying import Peer, Relay, connect

__all__ = ["Delay", "Home", "Host", "Lab", "Peer", "Pings", "Relay", "connect", "home_line", "ping"]
