"""What every dialer and listener of the matrix has to agree on."""

import hashlib

from .process import Peer

ECHO = "/towpath-test/echo/1.0.0"
LATE = "/towpath-test/late-answer/1.0.0"
EARLY = "/towpath-test/early-close/1.0.0"

ECHO_BYTES = 16 << 20
SIDE_BYTES = 1 << 20
REQUEST_BYTES = 1024
GREETING = "towpath"


def expand(seed: bytes, size: int) -> bytes:
    """SHAKE-256 of the seed, cut to size: the bytes that every peer derives from a seed."""
    return hashlib.shake_256(seed).digest(size)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def exchanges_succeed(dialer: Peer, listener: Peer, mark: int, seed: str) -> None:
    """Holds the two ends' accounts of the three exchanges against what the seed says they are.

    `mark` is the listener's position before the dialer was started.
    """
    dialer.wait("connected")
    bulk = sha256(expand(seed.encode(), ECHO_BYTES))
    echo = dialer.wait("echo")
    assert (echo["sent"], echo["sent_sha256"]) == (ECHO_BYTES, bulk)
    assert (echo["received"], echo["received_sha256"]) == (ECHO_BYTES, bulk)
    listener.wait("served", after=mark, protocol=ECHO, bytes=ECHO_BYTES, sha256=bulk)

    request = expand(seed.encode(), REQUEST_BYTES)
    late = dialer.wait("late-answer")
    assert (late["received"], late["received_sha256"]) == (SIDE_BYTES, sha256(expand(request, SIDE_BYTES)))
    listener.wait("served", after=mark, protocol=LATE, bytes=REQUEST_BYTES, sha256=sha256(request))

    rest = sha256(expand(seed.encode(), SIDE_BYTES))
    early = dialer.wait("early-close")
    assert early["greeting"] == GREETING
    assert (early["sent"], early["sent_sha256"]) == (SIDE_BYTES, rest)
    listener.wait("served", after=mark, protocol=EARLY, bytes=SIDE_BYTES, sha256=rest)
