"""Accounts by number, each with a relay, and receipts between them."""

from __future__ import annotations

import functools

from towpath._libs import pysodium
from towpath.credits.receipts import DAY_S, Receipt, Signed, countersign, read_dual, sign
from towpath.signed import PEER_ID_PREFIX

DAY = 20_000
NOW = DAY * DAY_S + 3600.0
MIB = 1 << 20


def _seed(number: int, purpose: int) -> bytes:
    return number.to_bytes(31, "big") + bytes([purpose])


@functools.cache
def account(number: int) -> bytes:
    return bytes(pysodium.crypto_sign_seed_keypair(_seed(number, 0))[0])


@functools.cache
def relay(number: int) -> bytes:
    return PEER_ID_PREFIX + bytes(pysodium.crypto_sign_seed_keypair(_seed(number, 1))[0])


def dual(payer: int, carrier: int, cum: int, *, seq: int = 1, day: int = DAY, own: int | None = None) -> bytes:
    """That `carrier` carried `cum` bytes for `payer`, countersigned for the carrier's account or that of `own`."""
    receipt = Receipt(1, relay(carrier), account(payer), day, seq, cum, 0, 0)
    return countersign(sign(receipt, _seed(payer, 0)), _seed(carrier, 1), account(carrier if own is None else own))


def signed(payer: int, carrier: int, cum: int, *, seq: int = 1, day: int = DAY, own: int | None = None) -> Signed:
    return read_dual(dual(payer, carrier, cum, seq=seq, day=day, own=own))
