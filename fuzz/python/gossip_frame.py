"""A neighbour's frames of pubsub: what is handed on speaks of our topic alone, and keeps within bounds."""

from __future__ import annotations

from libp2p.pubsub.pb.rpc_pb2 import RPC, PeerInfo

from towpath.dht.gossip_frames import MAX_FRAME, MAX_PUBLISHED, message_of, vetted, without_record
from towpath.dht.streams import ProtocolError
from towpath.reputation.messages import MAX_MESSAGE, TOPIC

__all__ = ["check", "seeds"]


def seeds() -> list[bytes]:
    """Frames with everything that a frame may have, and more."""
    full = RPC(senderRecord=b"record")
    full.subscriptions.add(subscribe=True, topicid=TOPIC)
    full.subscriptions.add(subscribe=True, topicid="another")
    full.publish.extend([message_of(b"\x01digest"), message_of(b"\x02" + bytes(700))])
    signed = full.publish.add(data=b"\x01signed", topicIDs=[TOPIC], from_id=b"somebody", seqno=b"1")
    signed.signature, signed.key = bytes(64), bytes(36)
    full.publish.add(data=b"\x01elsewhere", topicIDs=["another"])
    full.control.ihave.add(topicID=TOPIC, messageIDs=[b"a" * 16, b"b" * 16])
    full.control.iwant.add(messageIDs=[b"c" * 16])
    full.control.graft.add(topicID=TOPIC)
    full.control.prune.add(topicID=TOPIC, backoff=60, peers=[PeerInfo(peerID=b"x", signedPeerRecord=b"y")])
    full.control.idontwant.add(messageIDs=[b"d" * 16])
    hello = RPC()
    hello.subscriptions.add(subscribe=True, topicid=TOPIC)
    return [bytes(full.SerializeToString()), bytes(hello.SerializeToString()), b""]


def check(data: bytes) -> None:
    """AssertionError when something comes through that must not; any exception but ProtocolError is a fault, too."""
    try:
        plain = vetted(data[:MAX_FRAME])
    except ProtocolError:
        return
    found = RPC.FromString(plain)
    _must(not found.HasField("senderRecord"), "it has a record")
    _must(len(found.subscriptions) <= 1 and len(found.publish) <= MAX_PUBLISHED, "it has too much")
    for said in (*found.subscriptions, *found.control.graft, *found.control.prune, *found.control.ihave):
        _must(getattr(said, "topicid", "") == TOPIC or getattr(said, "topicID", "") == TOPIC, "it is of another topic")
    for message in found.publish:
        _must(list(message.topicIDs) == [TOPIC] and len(message.data) <= MAX_MESSAGE, "a message out of bounds")
        taken = message.from_id or message.seqno == message_of(message.data).seqno
        _must(bool(taken), "a message under another one's number")
    control = found.control
    for ids in [row.messageIDs for rows in (control.ihave, control.iwant, control.idontwant) for row in rows]:
        _must(len(ids) <= 64 and all(0 < len(one) <= 96 for one in ids), "ids out of bounds")
    for pruned in found.control.prune:
        _must(not pruned.peers and pruned.backoff <= 3600, "a prune out of bounds")
    _must(vetted(plain) == plain, "what was vetted is not what it is")
    _must(not RPC.FromString(without_record(data[:MAX_FRAME])).HasField("senderRecord"), "our own record stays")


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
