"""Noise_XX_25519_ChaChaPoly_SHA256 (noiseprotocol.org, revision 34) and libp2p's payload in it, without I/O."""

import hashlib
import hmac
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tests.peerlab.keys import Identity, verify
from tests.peerlab.protobuf import Fields, message

NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"
PLAIN_MAX = 65519
TAG = 16
_STATIC_KEY_PREFIX = b"noise-libp2p-static-key:"


class Cipher:
    """One direction of the transport: a key and a counter."""

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self.nonce = 0

    def seal(self, data: bytes, ad: bytes = b"") -> bytes:
        return self._aead.encrypt(self._next(), data, ad)

    def open(self, data: bytes, ad: bytes = b"") -> bytes:
        """Raises cryptography's InvalidTag."""
        return self._aead.decrypt(self._next(), data, ad)

    def _next(self) -> bytes:
        nonce = bytes(4) + self.nonce.to_bytes(8, "little")
        self.nonce += 1
        return nonce


def _hkdf(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    secret = hmac.digest(chaining_key, material, "sha256")
    first = hmac.digest(secret, b"\1", "sha256")
    return first, hmac.digest(secret, first + b"\2", "sha256")


class Handshake:
    """The three messages of XX. Call `write` and `read` in turn, then `split`."""

    _PATTERN = (("e",), ("e", "ee", "s", "es"), ("s", "se"))

    def __init__(self, *, initiator: bool) -> None:
        self.initiator = initiator
        self.static = X25519PrivateKey.generate()
        self.ephemeral = X25519PrivateKey.generate()
        self.their_static: bytes | None = None
        self._their_ephemeral: bytes | None = None
        self._hash = self._chaining_key = NAME
        self._cipher: Cipher | None = None
        self._step = 0
        self._mix_hash(b"")

    @property
    def static_public(self) -> bytes:
        return self.static.public_key().public_bytes_raw()

    def write(self, payload: bytes = b"") -> bytes:
        """The next message of ours."""
        out = b""
        for token in self._PATTERN[self._step]:
            if token == "e":
                public = self.ephemeral.public_key().public_bytes_raw()
                self._mix_hash(public)
                out += public
            elif token == "s":
                out += self._seal(self.static_public)
            else:
                self._mix_key(token)
        self._step += 1
        return out + self._seal(payload)

    def read(self, data: bytes) -> bytes:
        """Takes in the next message of theirs and returns its payload; InvalidTag when it was tampered with."""
        for token in self._PATTERN[self._step]:
            if token == "e":
                self._their_ephemeral, data = data[:32], data[32:]
                self._mix_hash(self._their_ephemeral)
            elif token == "s":
                size = 32 + (TAG if self._cipher else 0)
                self.their_static, data = self._open(data[:size]), data[size:]
            else:
                self._mix_key(token)
        self._step += 1
        return self._open(data)

    def split(self) -> tuple[Cipher, Cipher]:
        """The transport's ciphers: to send with, to receive with."""
        first, second = (Cipher(key) for key in _hkdf(self._chaining_key, b""))
        return (first, second) if self.initiator else (second, first)

    def _mix_hash(self, data: bytes) -> None:
        self._hash = hashlib.sha256(self._hash + data).digest()

    def _mix_key(self, token: str) -> None:
        mine, theirs = (token[0], token[1]) if self.initiator else (token[1], token[0])
        private = self.ephemeral if mine == "e" else self.static
        public = self._their_ephemeral if theirs == "e" else self.their_static
        shared = private.exchange(X25519PublicKey.from_public_bytes(public or b""))
        self._chaining_key, key = _hkdf(self._chaining_key, shared)
        self._cipher = Cipher(key)

    def _seal(self, data: bytes) -> bytes:
        out = self._cipher.seal(data, self._hash) if self._cipher else data
        self._mix_hash(out)
        return out

    def _open(self, data: bytes) -> bytes:
        out = self._cipher.open(data, self._hash) if self._cipher else data
        self._mix_hash(data)
        return out


def payload(identity: Identity, static_public: bytes, muxers: Sequence[str] = ()) -> bytes:
    """What proves in a handshake that the static key is the identity's, with the muxers on offer."""
    signature = identity.sign(_STATIC_KEY_PREFIX + static_public)
    extensions = message((2, muxer.encode()) for muxer in muxers)
    return message([(1, identity.public_pb), (2, signature), *([(4, extensions)] if muxers else [])])


def check_payload(data: bytes, their_static: bytes) -> tuple[bytes, list[str]]:
    """The other side's encoded identity key and its muxers; raises when the signature does not hold."""
    fields = Fields(data)
    key = fields.binary(1) or b""
    verify(key, _STATIC_KEY_PREFIX + their_static, fields.binary(2) or b"")
    muxers = Fields(fields.binary(4) or b"").all_binary(2)
    return key, [muxer.decode() for muxer in muxers]
