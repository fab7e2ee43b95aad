"""Print rows of {key, nonce, associated data, plaintext, sealed} for ChaCha20-Poly1305 with Noise's nonce."""

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

DRAFT = (
    "Internet-Drafts are draft documents valid for a maximum of six months and may be updated, replaced, or "
    "obsoleted by other documents at any time. It is inappropriate to use Internet-Drafts as reference "
    "material or to cite them other than as /\u201cwork in progress./\u201d"
).encode()
RFC_KEY = bytes.fromhex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0")
RFC_AD = bytes.fromhex("f33388860000000000004e91")
RFC_TAG = bytes.fromhex("eead9d67890cbb22392336fea1851f38")
KEY = bytes(range(0x80, 0xA0))


def sealed(key: bytes, nonce: int, ad: bytes, plain: bytes) -> bytes:
    """What Noise calls ENCRYPT(key, nonce, ad, plain)."""
    return ChaCha20Poly1305(key).encrypt(bytes(4) + nonce.to_bytes(8, "little"), plain, ad)


def main() -> None:
    """Print the RFC's vector and messages around every block boundary."""
    cases = [(RFC_KEY, 0x0807060504030201, RFC_AD, DRAFT)]
    for nonce in (0, 1, 255, 2**32, 2**64 - 2):
        for n in (0, 1, 16, 63, 64, 65, 200):
            cases.append((KEY, nonce, bytes(range(n % 48)), bytes(i * 7 & 255 for i in range(n))))
    if sealed(*cases[0])[-16:] != RFC_TAG:
        raise SystemExit("this is not RFC 8439's AEAD")
    print("/* Printed by make_aead.py. */")
    for key, nonce, ad, plain in cases:
        out = sealed(key, nonce, ad, plain)
        print(f'{{"{key.hex()}", {nonce}U,\n "{ad.hex()}",\n "{plain.hex()}",\n "{out.hex()}"}},')


main()
