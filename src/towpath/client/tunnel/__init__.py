"""Tunnels: a TCP service here, reachable through relays for whoever holds a ticket (`/towpath/tunnel/1`).

`Share` is the end with the service, `Opener` the end with the ticket. Both work on a running Node and say what happens
through a callback `report(event, **facts)`. A connection outlives the relay that carries it: what the other end has not
acknowledged is kept, and goes out again over another circuit.
"""

from __future__ import annotations

from towpath.client.tunnel.opening import Opener
from towpath.client.tunnel.sharing import Report, Share
from towpath.client.tunnel.wire import PROTOCOL

__all__ = ["PROTOCOL", "Opener", "Report", "Share"]
