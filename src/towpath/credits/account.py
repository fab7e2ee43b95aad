"""An account's key, and how it is shown to a relay: a proof that is good on one connection only. Pure but for the file.

An account is an Ed25519 key of its own, named by its 32-byte public key. The proof names both ends of the connection
and the relay's nonce. See docs/protocol.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from towpath import cbor
from towpath.errors import TowpathError
from towpath.identity import Identity, load_or_create
from towpath.signed import PEER_ID_PREFIX, SignatureError, opened, signed

__all__ = ["KEY_FILE", "MAX_SHOWN", "AccountError", "load_account", "prove", "read_proof"]

KEY_FILE: Final = "account.key"
MAX_SHOWN: Final = 512
"""Bytes of a proof."""
_PROOF: Final = "account"

_PeerId = Annotated[bytes, msgspec.Meta(min_length=1, max_length=64)]
_Key = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class AccountError(TowpathError):
    """Bytes that do not prove whose an account is."""


class _Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: Literal[1]
    relay: _PeerId
    """To whom it is shown,"""
    client: _PeerId
    """by whom: the two ids of the connection,"""
    nonce: _Key
    """and when: what the relay asked with."""


def load_account(data: Path | None) -> Identity:
    """The account of the node with this data directory, made when there is none; None: one for this process only."""
    return Identity.generate() if data is None else load_or_create(data / KEY_FILE)


def prove(seed: bytes, relay: bytes, client: bytes, nonce: bytes) -> bytes:
    """Shows the account with the key of `seed` on the connection between these two peer ids."""
    return signed(_PROOF, _encode(_Proof(1, relay, client, nonce)), seed)


def read_proof(raw: bytes, relay: bytes, client: bytes, nonce: bytes) -> bytes:
    """The account that `raw` shows on this connection; AccountError otherwise."""
    try:
        signer, body = opened(_PROOF, raw, MAX_SHOWN)
    except SignatureError as error:
        raise AccountError(f"an account is not proved: {error}") from error
    if body != _encode(_Proof(1, relay, client, nonce)):
        raise AccountError("the proof of an account is of another connection")
    return signer[len(PEER_ID_PREFIX) :]


def _encode(said: _Proof) -> bytes:
    return cbor.encode(msgspec.to_builtins(said, builtin_types=(bytes,)))
