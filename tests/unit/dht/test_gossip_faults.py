"""What is wrong in py-libp2p's gossipsub. A test fails once that is mended: then its work-around goes."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from libp2p.abc import IHost
from libp2p.custom_types import TProtocol
from libp2p.exceptions import ValidationError
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.mcache import MessageCache
from libp2p.pubsub.pb.rpc_pb2 import RPC, Message
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.utils import maybe_consume_signed_record

from tests.unit.dht.library import some_id
from towpath.dht.gossip_frames import message_of
from towpath.dht.host import Places

TOPIC = "t"


def router(**options: Any) -> GossipSub:
    return GossipSub([TProtocol("/meshsub/1.1.0")], degree=6, degree_low=4, degree_high=12, **options)


def pubsub() -> Pubsub:
    """One that is told nothing special, on a host that has nobody."""
    network = SimpleNamespace(register_notifee=lambda _: None)
    host = SimpleNamespace(
        get_network=lambda: network,
        set_stream_handler=lambda *_: None,
        get_id=some_id,
        get_addrs=list,
        get_peerstore=Places,
    )
    return Pubsub(cast(IHost, host), router(), strict_signing=False)


def test_ids__a_message_without_a_sender_and_number_hides_all_others() -> None:
    cache = MessageCache(3, 5)
    cache.put(Message(data=b"one", topicIDs=[TOPIC]))
    cache.put(Message(data=b"two", topicIDs=[TOPIC]))
    assert len(cache.msgs) == 1
    cache = MessageCache(3, 5)
    cache.put(message_of(b"one"))
    cache.put(message_of(b"two"))
    assert len(cache.msgs) == 2


def test_records__a_frame_whose_record_cannot_be_read_is_lost() -> None:
    assert not maybe_consume_signed_record(RPC(senderRecord=b""), cast(IHost, None), some_id())


def test_growth__who_pruned_us_is_kept_when_it_has_gone() -> None:
    gossip, peer = router(), some_id()
    gossip._add_back_off(peer, TOPIC, False, 1)
    gossip.remove_peer(peer)
    assert peer in gossip.back_off[TOPIC]


def test_growth__times_of_deliveries_are_kept_for_ever() -> None:
    async def publish() -> int:
        of = pubsub()
        gossip = cast(GossipSub, of.router)
        gossip.adaptive_gossip_enabled = False
        for n in range(5):
            await gossip.publish(some_id(), Message(data=bytes((n,)), topicIDs=[TOPIC], seqno=bytes((n,))))
        gossip._periodic_security_cleanup()
        of.seen_messages.stop()
        return len(gossip.recent_message_deliveries[TOPIC])

    assert trio.run(publish) == 5


def test_spam__the_eleventh_message_of_a_second_vanishes() -> None:
    gossip, peer = router(), some_id()
    began = time.time()
    passed = [gossip._check_spam_protection(peer, Message(topicIDs=[TOPIC])) for _ in range(11)]
    assert passed[-1] is False or time.time() - began >= 1
    assert all(router(spam_protection_enabled=False)._check_spam_protection(peer, Message()) for _ in range(50))


def test_verdicts__what_was_ignored_once_is_ignored_whoever_brings_it() -> None:
    async def judge() -> None:
        of = pubsub()
        allowed = [False, True]

        async def validator(peer: ID, message: Message) -> bool:
            return allowed.pop(0)

        of.set_topic_validator(TOPIC, validator, True)
        message = Message(data=b"x", topicIDs=[TOPIC], seqno=b"x")
        for _ in range(2):
            with pytest.raises(ValidationError):
                await of.validate_msg(some_id(), message)
        assert allowed == [True]
        of.seen_messages.stop()

    trio.run(judge)
