"""A relay in memory, and raw peers that reserve, connect and answer STOP by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.peerlab import circuit as pb
from tests.peerlab.circuit import HOP, STOP, Answer, Status
from tests.unit.native.raw import RawPeer, RawStream
from tests.unit.native.still import World
from towpath._native.hop import Verdict

Rule = Callable[..., Any]


class Policy:
    """Says what the test wants said, and remembers what it was asked."""

    def __init__(self, *, ttl_s: int = 3600, limit_s: int = 0, limit_data: int = 0) -> None:
        self.reserve_with: Any = Verdict(Status.OK, ttl_s, limit_s, limit_data)
        self.connect_with: Any = Verdict(Status.OK, 0, limit_s, limit_data)
        self.reserve_asked: list[tuple[Any, ...]] = []
        self.connect_asked: list[tuple[Any, ...]] = []

    def reserve(self, *numbers: Any) -> Any:
        self.reserve_asked.append(numbers)
        return self._said(self.reserve_with)

    def connect(self, *numbers: Any) -> Any:
        self.connect_asked.append(numbers)
        return self._said(self.connect_with)

    @staticmethod
    def _said(answer: Any) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer


@dataclass
class Joined:
    """A circuit's two ends."""

    near: RawStream
    """the dialer's"""
    far: RawStream
    """the target's"""


class RelayInMemory:
    """An endpoint that relays."""

    def __init__(self, world: World, policy: Any = None) -> None:
        self.world = world
        self.endpoint = world.endpoint(200)
        self.policy = policy or Policy()
        self.service = self.endpoint.start_relaying(self.policy)

    def peer(self, **how: Any) -> RawPeer:
        return RawPeer(self.world, self.endpoint, **how).connect()

    def target(self) -> RawPeer:
        """A peer with a reservation."""
        peer = self.peer()
        assert ask(peer, pb.reserve_message()).status == Status.OK
        return peer

    def calls(self, dialer: RawPeer, target: RawPeer, early: bytes = b"") -> RawStream:
        """The dialer's CONNECT; STOP is on its way to the target, nothing answered."""
        return dialer.open(HOP, pb.connect_message(target.peer_id) + early)

    def join(self, dialer: RawPeer, target: RawPeer) -> Joined:
        """An open circuit with everything of its set-up taken off both ends."""
        near = self.calls(dialer, target)
        far = target.accept(STOP)
        far.take_message()
        far.send(pb.stop_status(Status.OK))
        dialer.settle()
        assert pb.hop_answer(near.take_message()).status == Status.OK
        return Joined(near, far)

    @property
    def idle(self) -> bool:
        """Nothing is counted for anybody."""
        return (
            not self.service.circuits
            and self.service.connecting == 0
            and all(peer.circuits == 0 for peer in self.endpoint.peers.values())
        )


def ask(peer: RawPeer, message: bytes) -> Answer:
    """Says a HOP message on a stream of its own; the answer, the stream closed on both sides."""
    stream = peer.open(HOP, message)
    answer = pb.hop_answer(stream.take_message())
    assert stream.fin
    stream.finish()
    return answer


def settle(*peers: RawPeer) -> None:
    for peer in peers:
        peer.settle()
