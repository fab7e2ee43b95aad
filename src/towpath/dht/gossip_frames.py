"""What py-libp2p's gossipsub gets to see of a neighbour's frames: our topic, bounded lists, no peers, no records.

A frame is a protobuf RPC of pubsub with its length before it. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from google.protobuf.message import DecodeError
from libp2p.pubsub.pb.rpc_pb2 import RPC, ControlMessage, Message

from towpath.dht.streams import ProtocolError
from towpath.reputation.messages import MAX_MESSAGE, TOPIC

__all__ = ["MAX_FRAME", "MAX_PUBLISHED", "message_of", "vetted", "without_record"]

MAX_FRAME: Final = 65536
MAX_PUBLISHED: Final = 48
"""Messages in one frame."""
_IDS: Final = 64
"""Message ids in one frame, of each kind."""
_ID: Final = 96
_NUMBER: Final = 16
_SEAL: Final = 128
_BACK_OFF_S: Final = 3600


def message_of(data: bytes) -> Message:
    """A message of our topic that names nobody: its number is the hash of what it says, so it cannot be taken.

    py-libp2p knows messages by who they are from and their number, whatever function for ids it is given.
    """
    return Message(data=data, topicIDs=[TOPIC], from_id=b"", seqno=hashlib.sha256(data).digest()[:_NUMBER])


def without_record(frame: bytes) -> bytes:
    """Our own frame without the signed peer record, for which no key is here."""
    rpc = _rpc(frame)
    rpc.ClearField("senderRecord")
    return bytes(rpc.SerializeToString())


def vetted(frame: bytes) -> bytes:
    """What is to be handled of a neighbour's frame; ProtocolError for what is none."""
    rpc, out = _rpc(frame), RPC()
    for said in rpc.subscriptions:
        if said.topicid == TOPIC:
            # The last word counts.
            del out.subscriptions[:]
            out.subscriptions.add(subscribe=said.subscribe, topicid=TOPIC)
    out.publish.extend([message for message in rpc.publish[:MAX_PUBLISHED] if _ours(message)])
    if rpc.HasField("control"):
        _control(rpc.control, out.control)
    return bytes(out.SerializeToString())


def _rpc(frame: bytes) -> RPC:
    try:
        return RPC.FromString(frame)
    except DecodeError as error:
        raise ProtocolError("not a frame of pubsub") from error


def _ours(message: Message) -> bool:
    if list(message.topicIDs) != [TOPIC] or not 1 < len(message.data) <= MAX_MESSAGE:
        return False
    if len(message.from_id) + len(message.seqno) > _ID or max(len(message.signature), len(message.key)) > _SEAL:
        return False
    return bool(message.from_id) or message.seqno == message_of(message.data).seqno


def _control(said: ControlMessage, out: ControlMessage) -> None:
    out.SetInParent()
    have = [one for row in said.ihave if row.topicID == TOPIC for one in row.messageIDs]
    if have:
        out.ihave.add(topicID=TOPIC, messageIDs=_some(have))
    want = [one for row in said.iwant for one in row.messageIDs]
    if want:
        out.iwant.add(messageIDs=_some(want))
    spare = [one for row in said.idontwant for one in row.messageIDs]
    if spare:
        out.idontwant.add(messageIDs=_some(spare))
    if any(row.topicID == TOPIC for row in said.graft):
        out.graft.add(topicID=TOPIC)
    pruned = [row.backoff for row in said.prune if row.topicID == TOPIC]
    if pruned:
        out.prune.add(topicID=TOPIC, backoff=min(pruned[-1], _BACK_OFF_S))


def _some(ids: Iterable[bytes]) -> list[bytes]:
    return [one for one in ids if 0 < len(one) <= _ID][:_IDS]
