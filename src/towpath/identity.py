"""Ed25519 identities and the key files that hold them.

A key file holds the private key as libp2p marshals it (protobuf, 68 bytes), so that other implementations can
read it. It is created atomically with mode 0600 and refused when others may read it. Blocking file access: call
from a thread or before the loop runs.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from towpath import private_file
from towpath.addresses import peer_id_to_text
from towpath.errors import IdentityError

__all__ = ["Identity", "load", "load_or_create", "save"]

_PRIVATE_PREFIX: Final = b"\x08\x01\x12\x40"  # protobuf: type Ed25519, 64 bytes of data
_PUBLIC_PREFIX: Final = b"\x08\x01\x12\x20"


class Identity:
    """An Ed25519 key pair. `seed` is the 32-byte private key, `peer_id` the id's bytes, `text` its usual form."""

    __slots__ = ("peer_id", "public_key", "seed", "text")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise IdentityError(f"a private key has 32 bytes, not {len(seed)}")
        self.seed: Final = seed
        self.public_key: Final = _public_key(seed)
        self.peer_id: Final = b"\x00\x24" + _PUBLIC_PREFIX + self.public_key
        self.text: Final = peer_id_to_text(self.peer_id)

    @classmethod
    def generate(cls) -> Identity:
        """A new identity from the system's random source."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def from_marshalled(cls, data: bytes) -> Identity:
        """The identity in libp2p's protobuf form of a private key."""
        if len(data) != 68 or not data.startswith(_PRIVATE_PREFIX):
            raise IdentityError("this is not an Ed25519 private key in libp2p's form (68 bytes)")
        identity = cls(data[4:36])
        if data[36:] != identity.public_key:
            raise IdentityError("the public half of this key does not belong to its private half")
        return identity

    def marshalled(self) -> bytes:
        """libp2p's protobuf form of the private key."""
        return _PRIVATE_PREFIX + self.seed + self.public_key

    def __repr__(self) -> str:
        return f"Identity({self.text})"


def load(path: Path) -> Identity:
    """The identity in a key file; IdentityError when it is missing, malformed or readable by others."""
    try:
        with path.open("rb") as f:
            mode = stat.S_IMODE(os.fstat(f.fileno()).st_mode)
            data = f.read(4096)
    except OSError as e:
        raise IdentityError(f"cannot read the key file {path}: {e.strerror}") from e
    if mode & 0o077:
        raise IdentityError(
            f"the key file {path} can be read by others (mode {mode:04o}); run `chmod 600 {path}` "
            "if nobody did, else delete it to get a new identity"
        )
    try:
        return Identity.from_marshalled(data)
    except IdentityError as e:
        raise IdentityError(
            f"the key file {path} is damaged: {e}; restore it, or delete it to get a new identity"
        ) from e


def save(identity: Identity, path: Path) -> bool:
    """Writes a new key file, mode 0600; False (and nothing written) when there is one already."""
    try:
        # What stands in the way is named by what follows.
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return private_file.create(path, identity.marshalled())
    except OSError as e:
        raise IdentityError(f"cannot write the key file {path}: {e.strerror}") from e


def load_or_create(path: Path) -> Identity:
    """The identity in a key file, which is created when there is none."""
    if not path.exists():
        identity = Identity.generate()
        if save(identity, path):
            return identity
    return load(path)


def _public_key(seed: bytes) -> bytes:
    # Imported here: programs that only parse addresses and settings need not wait for libsodium.
    from towpath._libs import pysodium

    public: bytes = pysodium.crypto_sign_seed_keypair(seed)[0]
    return public
