"""The handshake, both roles: multistream-select, Noise, the muxer; and everything that must make it fail, quietly."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.peerlab.keys import Identity
from tests.peerlab.noise import Handshake, check_payload, payload
from tests.peerlab.protobuf import message, prefixed, varint
from tests.peerlab.upgrade import MULTISTREAM, NOISE, NOT_AVAILABLE, YAMUX, line, proposal
from tests.unit.native.raw import RawPeer
from tests.unit.native.still import World

ROLES = pytest.mark.parametrize("dials", [True, False], ids=["listener", "dialer"])
"""of the endpoint, seen from the raw end"""


@ROLES
@pytest.mark.parametrize("early", [True, False], ids=["early muxer", "late muxer"])
@pytest.mark.parametrize("aead", ["libsodium", "openssl"])
def test_both_roles_meet_with_the_muxer_settled_early_or_late(dials: bool, early: bool, aead: str) -> None:
    with World(aead=aead) as world:
        endpoint = world.endpoint()
        peer = RawPeer(world, endpoint, dials=dials).connect(early_muxer=early)
        assert peer.channel.peer_id == peer.peer_id
        peer.ping()
        assert not peer.violations
        assert list(endpoint.peers) == [peer.peer_id]


@pytest.mark.parametrize("make", [Identity.ed25519, Identity.secp256k1, Identity.ecdsa, Identity.rsa])
@ROLES
def test_identities_of_every_type_are_proved(make: Callable[[], Identity], dials: bool) -> None:
    with World() as world:
        identity = make()
        peer = RawPeer(world, world.endpoint(), dials=dials, identity=identity).connect()
        assert peer.channel.peer_id == identity.peer_id


class Recording:
    """What two endpoints say to each other until both are open: their bytes, in the order they crossed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.said: tuple[list[bytes], list[bytes]] = ([], [])
        dialer, listener = world.endpoint(1), world.endpoint(2)
        self.ends = (dialer.over_memory(True, self.said[0].append), listener.over_memory(False, self.said[1].append))

    def exchange(self, deliver: Callable[[int, bytes], None]) -> None:
        """Carries what each end says to the other through `deliver(to, data)` until neither says more."""
        taken = [0, 0]
        self.world.run()
        while any(taken[end] < len(self.said[end]) for end in (0, 1)):
            for end in (0, 1):
                data = b"".join(self.said[end][taken[end] :])
                taken[end] = len(self.said[end])
                if data:
                    deliver(1 - end, data)
                    self.world.run()


def test_a_handshake_may_arrive_split_at_every_byte() -> None:
    with World() as world:
        recording = Recording(world)

        def byte_by_byte(to: int, data: bytes) -> None:
            for n in range(len(data)):
                recording.ends[to].receive(data[n : n + 1])
                world.run()

        recording.exchange(byte_by_byte)
        assert [end.open for end in recording.ends] == [True, True]
        assert recording.ends[0].peer_id == world.endpoints[1].peer_id
        assert recording.ends[1].peer_id == world.endpoints[0].peer_id


def test_a_handshake_may_arrive_split_in_two_at_any_byte() -> None:
    # Which flight, and where in it: every position once.
    positions = [(to, at) for to, length in ((0, 260), (1, 260)) for at in range(0, length, 7)]
    with World() as world:
        for victim, at in positions:
            recording = Recording(world)
            seen = [0, 0]

            def in_two(
                to: int,
                data: bytes,
                recording: Recording = recording,
                seen: list[int] = seen,
                victim: int = victim,
                at: int = at,
            ) -> None:
                cut = min(max(at - seen[to], 0), len(data)) if to == victim else 0
                seen[to] += len(data)
                for part in (data[:cut], data[cut:]):
                    recording.ends[to].receive(part)
                    world.run()

            recording.exchange(in_two)
            assert [end.open for end in recording.ends] == [True, True], (victim, at)
            for end in recording.ends:
                end.close()
            world.endpoints.clear()


def _flights(world: World) -> tuple[bytes, bytes]:
    recording = Recording(world)
    recording.exchange(lambda to, data: recording.ends[to].receive(data))
    return b"".join(recording.said[0]), b"".join(recording.said[1])


@ROLES
def test_a_handshake_flipped_anywhere_fails_and_raises_nothing(dials: bool) -> None:
    """One bit in each byte that the endpoint receives before it is open."""
    with World() as world:
        endpoint, other = world.endpoint(1), world.endpoint(2)
        flips = 0
        at = 0
        while True:
            # The endpoint under test is end 0 here, whichever role it has.
            said: tuple[list[bytes], list[bytes]] = ([], [])
            ends = endpoint.over_memory(not dials, said[0].append), other.over_memory(dials, said[1].append)
            taken = [0, 0]
            delivered = 0
            reached = False
            world.run()
            while any(taken[n] < len(said[n]) for n in (0, 1)):
                for n in (0, 1):
                    data = bytearray(b"".join(said[n][taken[n] :]))
                    taken[n] = len(said[n])
                    if n == 1:
                        if delivered <= at < delivered + len(data):
                            data[at - delivered] ^= 1 << random.Random(at).randrange(8)
                            reached = True
                        delivered += len(data)
                    if data:
                        ends[1 - n].receive(bytes(data))
                        world.run()
            if not reached:
                assert at > 150
                break
            # A flipped Noise length may leave the endpoint waiting for more than there will be; it must not be open.
            assert not ends[0].open, f"open in spite of a flip at byte {at}"
            flips += 1
            for end in ends:
                end.close()
            world.run()
            at += 1 if at < 64 else 3
        assert flips > 60


@ROLES
def test_a_truncated_handshake_waits_and_then_ends_with_its_connection(dials: bool) -> None:
    with World() as world:
        endpoint, other = world.endpoint(1), world.endpoint(2)
        for limit in range(0, 300, 11):
            said: tuple[list[bytes], list[bytes]] = ([], [])
            ends = endpoint.over_memory(not dials, said[0].append), other.over_memory(dials, said[1].append)
            left = limit
            taken = [0, 0]
            world.run()
            while any(taken[n] < len(said[n]) for n in (0, 1)):
                for n in (0, 1):
                    data = b"".join(said[n][taken[n] :])
                    taken[n] = len(said[n])
                    if n == 1:
                        data, left = data[:left], left - min(left, len(data))
                    ends[1 - n].receive(data)
                    world.run()
            assert not ends[0].closed
            failed = endpoint.handshakes_failed
            was_open = ends[0].open
            for end in ends:
                end.close()
            assert endpoint.connections == 0
            assert endpoint.handshakes_failed == failed + (not was_open)


def test_who_does_not_finish_is_dropped_when_its_time_is_over() -> None:
    with World() as world:
        endpoint = world.endpoint()
        RawPeer(world, endpoint).feed(line(MULTISTREAM))
        assert world.timers == 1
        assert endpoint.connections == 1
        endpoint.close()
        assert endpoint.connections == 0
        assert world.timers == 0


def test_security_protocols_nobody_knows_are_declined_until_noise_comes() -> None:
    with World() as world:
        peer = RawPeer(world, world.endpoint())
        peer.feed(line(MULTISTREAM) + line("/tls/1.0.0") + line("/plaintext/2.0.0"))
        peer.hear_lines(MULTISTREAM, NOT_AVAILABLE, NOT_AVAILABLE)
        peer.feed(line(NOISE))
        peer.hear_lines(NOISE)
        noise = Handshake(initiator=True)
        peer.feed_noise(noise.write())
        noise.read(peer.hear_noise())
        peer.feed_noise(noise.write(payload(peer.identity, noise.static_public, (YAMUX,))))
        assert peer.channel.open


def test_muxers_nobody_knows_are_declined_until_yamux_comes() -> None:
    with World() as world:
        peer = RawPeer(world, world.endpoint())
        peer.feed(proposal(NOISE))
        peer.hear_lines(MULTISTREAM, NOISE)
        noise = Handshake(initiator=True)
        peer.feed_noise(noise.write())
        noise.read(peer.hear_noise())
        peer.feed_noise(noise.write(payload(peer.identity, noise.static_public, ("/mplex/6.7.0",))))
        peer._sending, peer._receiving = noise.split()
        peer.post(line(MULTISTREAM))
        peer.post(line("/mplex/6.7.0"))
        assert not peer.channel.open
        # The lines of a later proposal may come one byte a message.
        for n in line(YAMUX):
            peer.post(bytes([n]))
        assert peer.channel.open
        peer.plain.clear()
        peer.ping()


def test_frames_that_come_with_the_last_handshake_message_are_not_lost() -> None:
    for early in (True, False):
        with World() as world:
            peer = RawPeer(world, world.endpoint())
            peer.feed(proposal(NOISE))
            peer.hear_lines(MULTISTREAM, NOISE)
            noise = Handshake(initiator=True)
            peer.feed_noise(noise.write())
            noise.read(peer.hear_noise())
            last = noise.write(payload(peer.identity, noise.static_public, (YAMUX,) if early else ()))
            peer._sending, peer._receiving = noise.split()
            ping = bytes([0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7])
            behind = peer.seal(ping) if early else peer.seal(proposal(YAMUX) + ping[:5]) + peer.seal(ping[5:])
            peer.feed(len(last).to_bytes(2) + last + behind)
            assert peer.channel.open
            peer._open()
            if not early:
                del peer.plain[: len(proposal(YAMUX))]
            peer._decode()
            assert peer.pongs == [7]


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"GET / HTTP/1.1\r\nUser-Agent: curl/8.5.0\r\nAccept: text/html, */*;q=0.8\r\n\r\n", id="http"),
        pytest.param(prefixed(b"/multistream/2.0.0\n"), id="another version"),
        pytest.param(b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f", id="an endless length"),
        pytest.param(varint(1025) + b"/" * 1025, id="a line too long"),
        pytest.param(b"\x00", id="an empty line"),
        pytest.param(b"\x01\n", id="a line of a newline"),
        pytest.param(b"\x80\x00", id="a length not in its shortest form"),
        pytest.param(prefixed(b"/multistream/1.0.0 "), id="no newline"),
        pytest.param(b"".join(line("/nonsense") for _ in range(1)), id="no header"),
        pytest.param(line(MULTISTREAM) + line("/tls/1.0.0") * 12, id="proposals without end"),
        pytest.param(proposal(NOISE) + b"\x20\x01" + bytes(8193), id="a message over 8 KiB"),
        pytest.param(proposal(NOISE) + b"\x00\x00", id="an empty message"),
        pytest.param(proposal(NOISE) + b"\x00\x1f" + bytes(31), id="half a key"),
        pytest.param(proposal(NOISE) + b"\x00\x20" + bytes(32), id="a key of low order"),
    ],
)
def test_nonsense_closes_the_connection_of_who_says_it(said: bytes) -> None:
    with World() as world:
        endpoint = world.endpoint()
        peer = RawPeer(world, endpoint)
        peer.feed(said)
        assert peer.closed
        assert endpoint.connections == 0
        assert endpoint.handshakes_failed == 1


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(line(MULTISTREAM) + line(NOT_AVAILABLE), id="noise declined"),
        pytest.param(line(MULTISTREAM) + line("/tls/1.0.0"), id="another protocol"),
        pytest.param(proposal(NOISE) + b"\x00\x60" + bytes(96), id="a forged answer"),
        pytest.param(proposal(NOISE) + b"\x00\x10" + bytes(16), id="a short answer"),
    ],
)
def test_a_dialer_hangs_up_on_wrong_answers(said: bytes) -> None:
    with World() as world:
        endpoint = world.endpoint()
        peer = RawPeer(world, endpoint, dials=False)
        peer.feed(said)
        assert peer.closed
        assert endpoint.handshakes_failed == 1


def _proofs(identity: Identity, static: bytes) -> dict[str, bytes]:
    other = Identity.ed25519()
    signature = identity.sign(b"noise-libp2p-static-key:" + static)
    return {
        "another's static key": payload(identity, bytes(32)),
        "another's identity": message([(1, other.public_pb), (2, signature)]),
        "no signature": message([(1, identity.public_pb)]),
        "no key": message([(2, signature)]),
        "empty": b"",
        "not protobuf": b"\xff" * 40,
        "cut off": payload(identity, static)[:-1],
        "too long": payload(identity, static) + message([(9, bytes(5000))]),
        "a key of no known type": message([(1, message([(1, 9), (2, bytes(32))])), (2, signature)]),
        "a key of huge length": message([(1, message([(1, 0), (2, bytes(2000))])), (2, signature)]),
    }


@ROLES
@pytest.mark.parametrize("lie", list(_proofs(Identity.ed25519(), bytes(32))))
def test_false_proofs_of_identity_are_refused(dials: bool, lie: str) -> None:
    with World() as world:
        endpoint = world.endpoint()
        peer = RawPeer(world, endpoint, dials=dials)
        noise = Handshake(initiator=dials)
        proof = _proofs(peer.identity, noise.static_public)[lie]
        if dials:
            peer.feed(proposal(NOISE))
            peer.hear_lines(MULTISTREAM, NOISE)
            peer.feed_noise(noise.write())
            check_payload(noise.read(peer.hear_noise()), noise.their_static or b"")
        else:
            peer.hear_lines(MULTISTREAM, NOISE)
            peer.feed(proposal(NOISE))
            noise.read(peer.hear_noise())
        peer.feed_noise(noise.write(proof))
        assert peer.closed
        assert not endpoint.peers


def test_a_dialer_may_be_told_its_identity_by_nobody_but_noise() -> None:
    """The proved identity is who signed, whatever else is in the payload."""
    with World() as world:
        endpoint = world.endpoint()
        peer = RawPeer(world, endpoint)
        peer.feed(proposal(NOISE))
        peer.hear_lines(MULTISTREAM, NOISE)
        noise = Handshake(initiator=True)
        peer.feed_noise(noise.write())
        noise.read(peer.hear_noise())
        stranger = Identity.ed25519()
        # The last of a repeated field counts, for key and signature alike.
        proof = message([(1, stranger.public_pb)]) + payload(peer.identity, noise.static_public, (YAMUX,))
        peer.feed_noise(noise.write(proof))
        assert peer.channel.peer_id == peer.peer_id


def test_an_endless_drip_of_bytes_is_cut_at_the_first_impossible_one() -> None:
    with World() as world:
        peer = RawPeer(world, world.endpoint())
        fed = 0
        while not peer.closed:
            peer.feed(b"\x80")
            fed += 1
        assert fed == 2
