"""`python -m towpath.credits.computing DESCRIPTOR`: the process that checks receipts and computes credit and standing.

The node starts it and nobody else has such a descriptor. It has no files, no sockets but the one to its node, no clock
that counts and no secrets; it forgets everything when it ends, and is told again what was written down.
"""

from __future__ import annotations

import os
import random
import resource
import socket
import sys
from collections.abc import Iterator
from typing import Final

from towpath.credits.computing_messages import (
    KEYS_AT_ONCE,
    MOST_SCORES,
    USED_AT_ONCE,
    Ask,
    Begin,
    Bring,
    Distrust,
    Dropped,
    Fraud,
    FromChild,
    FromNode,
    Give,
    KeyRow,
    Load,
    LoadUsed,
    Scores,
    Standing,
    Stored,
    Take,
    Trouble,
    UsedRow,
    UsedUp,
    Walk,
    decode_from_node,
)
from towpath.credits.known import Key, Known, Row, Used
from towpath.credits.receipts import ReceiptError, read_dual
from towpath.errors import TowpathError
from towpath.packets import MAX_PACKET, encode

__all__ = ["Computing", "main"]

NICENESS: Final = 10
MEMORY: Final = 192 * 1024 * 1024
"""It needs 30 MiB of its own; one that takes so much is better off dead, and is started again."""


class Computing:
    """What the process does with what it is told. Pure."""

    def __init__(self, own: bytes) -> None:
        self._own = own
        self._known = Known(own)

    def answer(self, message: FromNode) -> Iterator[FromChild]:
        """What is said to a message."""
        match message:
            case Load(rows):
                self._known.load((Row(*_fields(row)) for row in rows), ())
            case LoadUsed(rows):
                self._known.load((), (Used(row.payer, row.account, row.amount, row.day) for row in rows))
            case Give(edges):
                self._known.give(dict(edges))
            case Distrust(account):
                yield from _dropped(self._known.distrust(account))
            case Bring():
                yield from self._bring(message)
            case Take(number, account, amount, now):
                used = self._known.use(account, amount, now)
                for first in range(0, len(used), USED_AT_ONCE):
                    yield UsedUp(number, [UsedRow(*one) for one in used[first : first + USED_AT_ONCE]])
                yield self._standing(number, account, now)
            case Ask(number, account, now):
                yield self._standing(number, account, now)
            case Walk(number, seed, now):
                scores = self._known.scores(now, random.Random(seed))
                best = sorted(scores.items(), key=lambda row: (-row[1], row[0]))
                yield Scores(number, best[:MOST_SCORES])

    def _bring(self, message: Bring) -> Iterator[FromChild]:
        brought = []
        wrong = []
        for dual in message.duals:
            try:
                brought.append(read_dual(dual))
            except ReceiptError as error:
                wrong.append(str(error))
        taken = self._known.add(brought, message.now)
        for proof in taken.frauds:
            yield Fraud(proof)
        yield from _dropped(taken.dropped)
        yield self._standing(
            message.number,
            message.account,
            message.now,
            kept=[Stored(*row) for row in taken.kept],
            refused=taken.refused + len(wrong),
            why=wrong[0][:512] if wrong else "",
        )

    def _standing(
        self,
        number: int,
        account: bytes,
        now: float,
        *,
        kept: list[Stored] | None = None,
        refused: int = 0,
        why: str = "",
    ) -> Standing:
        direct, through = self._known.reach(account, now)
        return Standing(number, _amount(direct), _amount(through), kept or [], refused, why)


def main(descriptor: int) -> None:
    """Runs on the inherited descriptor until the node closes the other end."""
    with socket.socket(fileno=descriptor) as end:
        end.setblocking(True)
        computing: Computing | None = None
        while data := end.recv(MAX_PACKET):
            number = 0
            try:
                message = decode_from_node(data)
                number = getattr(message, "number", 0)
                if isinstance(message, Begin):
                    computing = Computing(message.own)
                elif computing is None:
                    raise ValueError("the first message says whose books these are")
                else:
                    for answer in computing.answer(message):
                        end.send(encode(answer))
            except (ArithmeticError, LookupError, ValueError, TowpathError) as error:
                end.send(encode(Trouble(number, repr(error)[:512])))


def _fields(row: Stored) -> tuple[bytes, bytes, int, int, int, bytes, bytes]:
    return row.relay, row.payer, row.day, row.seq, row.cum_bytes, row.account, row.dual


def _amount(number: int) -> int:
    # Sums of receipts may exceed what a message holds; nobody can use so much.
    return min(number, 2**63 - 1)


def _dropped(keys: list[Key]) -> Iterator[FromChild]:
    for first in range(0, len(keys), KEYS_AT_ONCE):
        yield Dropped([KeyRow(*key) for key in keys[first : first + KEYS_AT_ONCE]])


if __name__ == "__main__":
    os.nice(NICENESS)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    main(int(sys.argv[1]))
