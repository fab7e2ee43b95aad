"""Print Noise_XX_25519_ChaChaPoly_SHA256 handshakes with fixed keys.

A row: {static and ephemeral secrets of both sides, payloads, messages, handshake hash, two transport messages}.
"""

from collections.abc import Iterable

from noise.connection import Keypair, NoiseConnection

NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"
PAYLOADS = {
    1: (b"", b"", b""),
    10: (b"one", b"two two", b"three" * 30),
    90: (b"", bytes(200), bytes(119)),
}


def secret(seed: int) -> bytes:
    """Return a private key, the same in every run."""
    return bytes((seed * 37 + i * 11 + 1) & 255 for i in range(32))


def side(initiator: bool, seed: int) -> NoiseConnection:
    """Return one side with static key `seed` and ephemeral key `seed + 1`."""
    c = NoiseConnection.from_name(NAME)
    if initiator:
        c.set_as_initiator()
    else:
        c.set_as_responder()
    c.set_prologue(b"")
    c.set_keypair_from_private_bytes(Keypair.STATIC, secret(seed))
    c.set_keypair_from_private_bytes(Keypair.EPHEMERAL, secret(seed + 1))
    c.start_handshake()
    return c


def quoted(data: bytes) -> str:
    """Return a C string of hexadecimal digits."""
    return f'"{data.hex()}"'


def group(items: Iterable[bytes]) -> str:
    """Return a C initializer of strings."""
    return "{" + ",\n  ".join(map(quoted, items)) + "}"


def main() -> None:
    """Run each handshake and print it."""
    print("/* Printed by make_noise.py. */")
    for seed, payloads in PAYLOADS.items():
        a, b = side(True, seed), side(False, seed + 2)
        messages = []
        for i, payload in enumerate(payloads):
            writer, reader = (a, b) if i % 2 == 0 else (b, a)
            message = bytes(writer.write_message(payload))
            if bytes(reader.read_message(message)) != payload:
                raise SystemExit("the two sides disagree")
            messages.append(message)
        digest = a.get_handshake_hash()
        transport = [bytes(a.encrypt(b"from the initiator")), bytes(b.encrypt(b"from the responder"))]
        secrets = [secret(seed + i) for i in range(4)]
        fields = [group(secrets), group(payloads), group(messages), quoted(digest), group(transport)]
        print("{" + ",\n ".join(fields) + "},")


main()
