"""libp2p identities of every key type: making them, signing, verifying, and peer ids (libp2p specs, peer-ids)."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from tests.peerlab.protobuf import Fields, message

RSA, ED25519, SECP256K1, ECDSA = range(4)

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58(data: bytes) -> str:
    """Bitcoin's base 58, which peer ids are written in."""
    value, out = int.from_bytes(data), ""
    while value:
        value, digit = divmod(value, 58)
        out = _ALPHABET[digit] + out
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + out


def from_base58(text: str) -> bytes:
    """The inverse of `base58`; ValueError for other letters."""
    value = 0
    for letter in text:
        value = value * 58 + _ALPHABET.index(letter)
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + value.to_bytes((value.bit_length() + 7) // 8)


def public_key(kind: int, data: bytes) -> bytes:
    """The PublicKey protobuf."""
    return message([(1, kind), (2, data)])


def peer_id_of(public_pb: bytes) -> bytes:
    """The peer id of an encoded key: the key itself when it is short, its sha2-256 otherwise."""
    if len(public_pb) <= 42:
        return bytes([0x00, len(public_pb)]) + public_pb
    return bytes([0x12, 32]) + hashlib.sha256(public_pb).digest()


@dataclass(frozen=True)
class Identity:
    """A key pair of one of libp2p's four types and the peer id that follows from it."""

    public_pb: bytes
    sign: Callable[[bytes], bytes] = field(repr=False)

    @property
    def peer_id(self) -> bytes:
        return peer_id_of(self.public_pb)

    @property
    def text(self) -> str:
        return base58(self.peer_id)

    @classmethod
    def ed25519(cls) -> "Identity":
        private = Ed25519PrivateKey.generate()
        return cls(public_key(ED25519, private.public_key().public_bytes_raw()), private.sign)

    @classmethod
    def secp256k1(cls) -> "Identity":
        private = ec.generate_private_key(ec.SECP256K1())
        point = private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        return cls(public_key(SECP256K1, point), lambda data: private.sign(data, ec.ECDSA(SHA256())))

    @classmethod
    def ecdsa(cls, curve: ec.EllipticCurve | None = None) -> "Identity":
        private = ec.generate_private_key(curve or ec.SECP256R1())
        spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return cls(public_key(ECDSA, spki), lambda data: private.sign(data, ec.ECDSA(SHA256())))

    @classmethod
    def rsa(cls, bits: int = 2048) -> "Identity":
        private = rsa.generate_private_key(65537, bits)
        spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return cls(public_key(RSA, spki), lambda data: private.sign(data, padding.PKCS1v15(), SHA256()))


def verify(public_pb: bytes, data: bytes, signature: bytes) -> None:
    """Raises cryptography's InvalidSignature, or ValueError for a key that cannot be used."""
    fields = Fields(public_pb)
    kind, key = fields.integer(1), fields.binary(2) or b""
    if kind == ED25519:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
    elif kind == SECP256K1:
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), key)
        point.verify(signature, data, ec.ECDSA(SHA256()))
    else:
        loaded = load_der_public_key(key)
        if kind == ECDSA and isinstance(loaded, ec.EllipticCurvePublicKey):
            loaded.verify(signature, data, ec.ECDSA(SHA256()))
        elif kind == RSA and isinstance(loaded, rsa.RSAPublicKey):
            loaded.verify(signature, data, padding.PKCS1v15(), SHA256())
        else:
            raise ValueError(f"a key of type {kind} that holds something else")
