"""Whatever a neighbour in the gossip sends, py-libp2p gets to see what is ours, within bounds."""

from __future__ import annotations

import random

from fuzz.python.gossip_frame import check, seeds
from hypothesis import given
from hypothesis import strategies as st
from libp2p.pubsub.pb.rpc_pb2 import RPC

from towpath.dht.gossip_frames import message_of, vetted


@given(st.binary(max_size=400))
def test_no_bytes_bring_about_what_must_not_be(data: bytes) -> None:
    check(data)


def test_changed_frames_are_vetted_all_the_same() -> None:
    chance = random.Random(7)
    for seed in seeds():
        check(seed)
        for _ in range(300 if seed else 0):
            data = bytearray(seed)
            for _ in range(chance.randint(1, 4)):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            check(bytes(data))


def test_of_a_full_frame_what_is_ours_comes_through() -> None:
    found = RPC.FromString(vetted(seeds()[0]))
    assert [bytes(message.data)[:1] for message in found.publish] == [b"\x01", b"\x02", b"\x01"]
    assert len(found.subscriptions) == len(found.control.graft) == len(found.control.prune) == 1
    assert list(found.control.ihave[0].messageIDs) == [b"a" * 16, b"b" * 16]
    assert not found.control.prune[0].peers


def test_a_message_under_the_number_of_another_one_does_not_come_through() -> None:
    wrong = message_of(b"\x01this")
    wrong.data = b"\x01that"
    rpc = RPC(publish=[wrong, message_of(b"\x01other")])
    assert len(RPC.FromString(vetted(rpc.SerializeToString())).publish) == 1
