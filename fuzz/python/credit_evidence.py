"""Evidence that peers bring: whatever it is, credit comes only of what was carried for us, and answers are well formed.

The first byte of an input says what the rest is: what a peer brings as it is, the body of a receipt that gets its
payer's and its relay's signature, so that changes reach what is behind them, or what the process says to its node.
"""

from __future__ import annotations

import functools

from towpath.credits.computing import Computing
from towpath.credits.computing_messages import (
    Bring,
    Dropped,
    Fraud,
    Standing,
    Take,
    UsedUp,
    decode_from_child,
    decode_from_node,
)
from towpath.credits.receipts import DAY_S, MAX_DUAL, Receipt, countersign, read_fraud_proof, sign
from towpath.identity import Identity
from towpath.packets import encode
from towpath.signed import OVERHEAD, signed

__all__ = ["check", "seeds"]

NOW = 20_000 * DAY_S + 7.0
CARRIED = 10 << 20
"""Bytes that the only relay we owe carried for us."""
_KEYS = tuple(Identity(bytes((n,)) * 32) for n in range(20, 24))
_OWN, _PAYER, _RELAY, _OTHER = _KEYS
_ACCOUNTS = tuple(key.peer_id[6:] for key in _KEYS)


@functools.cache
def seeds() -> list[bytes]:
    """Receipts, whole and as bodies, and one of each answer."""
    raw = sign(_receipt(_PAYER, _RELAY, 5 << 20), _PAYER.seed)
    good = countersign(raw, _RELAY.seed, _ACCOUNTS[2])
    answers = [
        Standing(1, 2, 3),
        Dropped([]),
        UsedUp(1, []),
        Fraud(b"x" * 40),
    ]
    return [b"\x00" + good, b"\x01" + raw[OVERHEAD:], *(b"\x02" + encode(answer) for answer in answers)]


def check(data: bytes) -> None:
    """AssertionError when credit came of nothing; any exception but a decoder's ValueError is a fault, too."""
    if not data:
        return
    if data[0] % 3 == 2:
        try:
            message = decode_from_child(data[1:])
        except ValueError:
            return
        _must(decode_from_child(encode(message)) == message, "a message that is another when it is read again")
        return
    dual = data[1 : 1 + MAX_DUAL]
    if data[0] % 3 == 1:
        dual = signed("countersigned", _ACCOUNTS[2] + signed("receipt", data[1:300], _PAYER.seed), _RELAY.seed)[
            :MAX_DUAL
        ]
    computing = _begun()
    for duals in ([dual], [dual, dual], [b"", dual[:-1]]):
        _answers(computing, Bring(7, _ACCOUNTS[3], duals, NOW))
    for account in _ACCOUNTS[1:]:
        standing = _answers(computing, Take(8, account, 2**40, NOW))
        _must(standing.direct + standing.through == 0, "credit is left of a credit that was all used")


def _begun() -> Computing:
    computing = Computing(_ACCOUNTS[0])
    mine = countersign(sign(_receipt(_OWN, _PAYER, CARRIED), _OWN.seed), _PAYER.seed, _ACCOUNTS[1])
    standing = _answers(computing, Bring(1, _ACCOUNTS[1], [mine], NOW))
    _must(standing.direct == CARRIED, "what was carried for us is not owed")
    return computing


def _answers(computing: Computing, message: Bring | Take) -> Standing:
    standing = None
    for answer in computing.answer(decode_from_node(encode(message))):
        _must(decode_from_child(encode(answer)) == answer, "an answer that is another when it is read again")
        if isinstance(answer, Fraud):
            read_fraud_proof(answer.proof)
        elif isinstance(answer, Standing):
            _must(answer.number == message.number, "an answer to another question")
            _must(answer.direct + answer.through <= CARRIED, "credit that nobody worked for")
            standing = answer
    if standing is None:
        raise AssertionError("no answer")
    return standing


def _receipt(payer: Identity, relay: Identity, cum: int) -> Receipt:
    return Receipt(1, relay.peer_id, payer.peer_id[6:], 20_000, 5, cum, 3, 1)


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
