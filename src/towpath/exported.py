"""The file that `towpath id export` writes: a node's private keys, plain or under a passphrase.

It is JSON: `towpath` says what it is, `version` how to read it, `keys` has a key of each kind in libp2p's form,
base64. Under a passphrase `sealed` stands in place of `keys`: their JSON in libsodium's secretbox, whose key is
Argon2id of the passphrase (NFC, UTF-8) with the cost that the file names. No I/O.
"""

from __future__ import annotations

import base64
import binascii
import json
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from towpath.errors import IdentityError
from towpath.identity import Identity

__all__ = ["KEYS", "NeedsPassphrase", "read", "write"]

KEYS: Final = {"peer": "peer.key", "relay": "relay.key"}
"""Every kind of key with the name of its file in a data directory."""
_NAME: Final = "identities"
_VERSION: Final = 1
_PLAIN: Final = "These are private keys: whoever has this file can be this node. Keep it where only you can read it."
_SEALED: Final = "These are private keys, under a passphrase. Without it they are of no use to anybody, you included."
# What libsodium calls moderate: 256 MiB and most of a second. A file that asks for much more is not one of ours.
_OPERATIONS: Final = 3
_MEMORY: Final = 256 * 1024 * 1024
_MOST_OPERATIONS: Final = 16
_MOST_MEMORY: Final = 1024 * 1024 * 1024
_SALT: Final = 16
_NONCE: Final = 24
_KEY: Final = 32
_ARGON2ID: Final = 2


class NeedsPassphrase(IdentityError):
    """The file is under a passphrase, and none was given."""


def write(keys: Mapping[str, Identity], passphrase: str | None) -> str:
    """The text of a file that holds `keys`, one for each of KEYS, under a passphrase if one is given."""
    plain = {kind: base64.b64encode(keys[kind].marshalled()).decode() for kind in KEYS}
    content: dict[str, Any] = {"towpath": _NAME, "version": _VERSION}
    if passphrase is None:
        content |= {"note": _PLAIN, "keys": plain}
    else:
        content |= {"note": _SEALED, "sealed": _seal(json.dumps(plain).encode(), passphrase)}
    return json.dumps(content, indent=1) + "\n"


def read(text: bytes, passphrase: str | None) -> dict[str, Identity]:
    """The keys in a file, by kind. IdentityError when it is no such file, is damaged, or the passphrase is wrong."""
    try:
        content = json.loads(text)
        known = content["towpath"] == _NAME
        version = content["version"]
    except (ValueError, KeyError, TypeError) as e:
        raise IdentityError("it was not written by `towpath id export`") from e
    if not known or not isinstance(version, int):
        raise IdentityError("it was not written by `towpath id export`")
    if version > _VERSION:
        raise IdentityError("it was written by a newer towpath; upgrade this one")
    try:
        keys = content.get("keys")
        if keys is None:
            if passphrase is None:
                raise NeedsPassphrase("it is under a passphrase; give that with --passphrase")
            keys = json.loads(_open(content["sealed"], passphrase))
        found = {str(kind): base64.b64decode(key, validate=True) for kind, key in keys.items()}
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as e:
        raise IdentityError("it is damaged; take another copy of it") from e
    missing = [kind for kind in KEYS if kind not in found]
    unknown = [kind for kind in found if kind not in KEYS]
    if missing or unknown:
        what = (
            f"lacks the {missing[0]} key" if missing else f"has a key of a kind that is not known here, {unknown[0]!r}"
        )
        raise IdentityError(f"it {what}; it was written by another version of towpath")
    return {kind: Identity.from_marshalled(key) for kind, key in found.items()}


def _seal(plain: bytes, passphrase: str) -> dict[str, Any]:
    from towpath._libs import pysodium

    salt, nonce = pysodium.randombytes(_SALT), pysodium.randombytes(_NONCE)
    box = pysodium.crypto_secretbox(plain, nonce, _stretched(passphrase, salt, _OPERATIONS, _MEMORY))
    encoded = {
        name: base64.b64encode(value).decode() for name, value in (("salt", salt), ("nonce", nonce), ("box", box))
    }
    return {"by": "argon2id13+xsalsa20poly1305", "operations": _OPERATIONS, "memory": _MEMORY, **encoded}


def _open(sealed: Mapping[str, Any], passphrase: str) -> bytes:
    from towpath._libs import pysodium

    operations, memory = sealed["operations"], sealed["memory"]
    if not (1 <= operations <= _MOST_OPERATIONS and 8192 <= memory <= _MOST_MEMORY):
        raise ValueError("a cost that no export has")
    salt, nonce, box = (base64.b64decode(sealed[name], validate=True) for name in ("salt", "nonce", "box"))
    if len(salt) != _SALT or len(nonce) != _NONCE or len(box) < 16:
        raise ValueError("a part of the wrong length")
    key = _stretched(passphrase, salt, operations, memory)
    try:
        plain: bytes = pysodium.crypto_secretbox_open(box, nonce, key)
    except ValueError as e:
        raise IdentityError("the passphrase is wrong, or the file is damaged") from e
    return plain


def _stretched(passphrase: str, salt: bytes, operations: int, memory: int) -> bytes:
    from towpath._libs import pysodium

    text = unicodedata.normalize("NFC", passphrase).encode()
    try:
        key: bytes = pysodium.crypto_pwhash(_KEY, text, salt, operations, memory, _ARGON2ID)
    except ValueError as e:
        raise IdentityError(f"there are not the {memory >> 20} MiB of free memory that this takes") from e
    return key
