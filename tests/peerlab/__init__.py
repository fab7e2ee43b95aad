"""A scriptable libp2p peer for tests: TCP, Noise, yamux, circuit relay v2, with every byte in the test's hand.

It shares no code with towpath, so it is an independent second opinion on the wire. Every wait in it is bounded and
says what it waited for. `Peer` is the place to start; `tests/net` shows what can be said with it.
"""

from tests.peerlab.circuit import Refused, Status
from tests.peerlab.keys import Identity
from tests.peerlab.patience import Impatient, asked_until, eventually, meanwhile, within
from tests.peerlab.peer import Link, Peer, circuit_between
from tests.peerlab.process import RelayProcess
from tests.peerlab.session import Stream, StreamLost, StreamReset

__all__ = [
    "Identity",
    "Impatient",
    "Link",
    "Peer",
    "Refused",
    "RelayProcess",
    "Status",
    "Stream",
    "StreamLost",
    "StreamReset",
    "asked_until",
    "circuit_between",
    "eventually",
    "meanwhile",
    "within",
]
