# cython: language_level=3
"""A connection's handshake, without I/O: multistream-select → Noise XX → multistream-select for the muxer.

Bytes go in through `feed`, bytes to send collect in `out`. The muxer is settled in Noise's payloads when both
sides name it there (libp2p specs, noise, "Inlined Muxer Negotiation"), otherwise by multistream-select
on the encrypted channel. The remote identity is what Noise proved, nothing else.
"""
cimport cython
from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from towpath._native.core cimport (
    TP_ED25519_PB,
    tp_bytequeue, tp_bytequeue_drop, tp_bytequeue_free, tp_bytequeue_head, tp_bytequeue_push, tp_bytequeue_size,
    tp_ed25519_pb, tp_multistream_get, tp_multistream_put,
    tp_noise_done, tp_noise_init, tp_noise_read, tp_noise_split, tp_noise_wipe, tp_noise_write, tp_noise_writes,
    tp_open, tp_payload, tp_payload_get, tp_payload_put, tp_payload_verify, tp_peer_id_of_key, tp_seal,
)

cdef extern from "sodium.h" nogil:
    int sodium_init()
    int crypto_sign_seed_keypair(uint8_t* public, uint8_t* secret, const uint8_t* seed)
    int crypto_sign_detached(
        uint8_t* sig, unsigned long long* n, const uint8_t* m, unsigned long long mlen, const uint8_t* secret)
    int crypto_box_keypair(uint8_t* public, uint8_t* secret)
    void sodium_memzero(void* p, size_t n)

cdef enum:
    LINES_MAX = 12             # proposals a peer may make before we hang up
    HANDSHAKE_MESSAGE_MAX = 8192

cdef bytes MULTISTREAM = b"/multistream/1.0.0"
cdef bytes NOISE_ID = b"/noise"
cdef bytes YAMUX_ID = b"/yamux/1.0.0"
cdef bytes NOT_AVAILABLE = b"na"

if sodium_init() < 0:
    raise ImportError("libsodium could not be initialised")


@cython.no_gc
cdef class Identity:
    """An Ed25519 identity (seed: 32 bytes) with a Noise static key of its own, made anew for each object."""

    def __init__(self, bytes seed not None):
        cdef uint8_t public[32]
        cdef uint8_t signature[64]
        cdef uint8_t peer[48]
        cdef bytes message
        cdef int n
        if len(seed) != 32:
            raise ValueError("an Ed25519 seed has 32 bytes")
        crypto_sign_seed_keypair(public, self.secret, <const uint8_t*>seed)
        crypto_box_keypair(self.noise_public, self.noise_secret)
        tp_ed25519_pb(public, self.key_pb)
        n = tp_peer_id_of_key(self.key_pb, TP_ED25519_PB, peer)
        self.peer_id = peer[:n]
        self.public_key = public[:32]
        message = b"noise-libp2p-static-key:" + self.noise_public[:32]
        crypto_sign_detached(signature, NULL, <const uint8_t*>message, len(message), self.secret)
        self.payload_n = tp_payload_put(self.payload, self.key_pb, signature, 1)

    def __dealloc__(self):
        sodium_memzero(self.secret, 64)
        sodium_memzero(self.noise_secret, 32)

    def sign(self, bytes message not None):
        """The 64-byte Ed25519 signature over `message`."""
        cdef uint8_t signature[64]
        crypto_sign_detached(signature, NULL, <const uint8_t*>message, len(message), self.secret)
        return signature[:64]


@cython.no_gc
cdef class Handshake:
    """One handshake. After `feed` returned 1: ciphers, peer_id, and in `received` (raw) and `plain` (decrypted) what
    came behind it."""

    def __dealloc__(self):
        tp_noise_wipe(&self.noise)
        sodium_memzero(&self.send_cipher, sizeof(self.send_cipher))
        sodium_memzero(&self.recv_cipher, sizeof(self.recv_cipher))
        tp_bytequeue_free(&self.received)
        tp_bytequeue_free(&self.plain)
        tp_bytequeue_free(&self.out)

    cdef void begin(self) noexcept:
        """Starts; the fields me, aead and initiator are set before."""
        tp_noise_init(&self.noise, self.aead, self.initiator, self.me.noise_public, self.me.noise_secret)
        self.stage = SECURITY_HEADER
        if self.initiator:
            self._put_line(&self.out, MULTISTREAM)
            self._put_line(&self.out, NOISE_ID)

    cdef int feed(self, const uint8_t* p, size_t n) noexcept:
        """Takes n received bytes. 0: more are needed; 1: done; -1: failed, `error` says why."""
        cdef int r
        if tp_bytequeue_push(&self.received, p, n) != 0:
            return self._fail("no memory")
        while self.stage != DONE:
            r = self._step()
            if r <= 0:
                return r
        return 1

    cdef int _step(self) noexcept:
        # 1: something was consumed, 0: more bytes are needed, -1: failed.
        if self.stage == SECURITY_HEADER or self.stage == SECURITY_PROTOCOL:
            return self._security_line()
        if self.stage == NOISE:
            return self._noise_message()
        return self._muxer_line()

    cdef int _read_line(self, tp_bytequeue* q, const uint8_t** text, size_t* n, size_t* used) noexcept:
        cdef int r = tp_multistream_get(tp_bytequeue_head(q), tp_bytequeue_size(q), text, n)
        if r < 0:
            return self._fail("not multistream-select")
        if r > 0:
            used[0] = r
            self.lines += 1
            if self.lines > LINES_MAX:
                return self._fail("too many protocol proposals")
        return r

    cdef int _security_line(self) noexcept:
        cdef const uint8_t* text
        cdef size_t n, used
        cdef int r = self._read_line(&self.received, &text, &n, &used)
        if r <= 0:
            return r
        if self.stage == SECURITY_HEADER:
            if not is_line(text, n, MULTISTREAM):
                return self._fail("not multistream-select 1.0.0")
            if not self.initiator:
                self._put_line(&self.out, MULTISTREAM)
            self.stage = SECURITY_PROTOCOL
        elif is_line(text, n, NOISE_ID):
            if not self.initiator:
                self._put_line(&self.out, NOISE_ID)
            self.stage = NOISE
        elif self.initiator:
            return self._fail("the other side does not speak /noise")
        else:
            self._put_line(&self.out, NOT_AVAILABLE)
        tp_bytequeue_drop(&self.received, used)
        if self.stage == NOISE and self.initiator:
            return self._put_noise()
        return 1

    cdef int _put_noise(self) noexcept:
        # Writes our next Noise message. The first carries no payload: nothing protects it.
        cdef uint8_t frame[512]
        cdef int n
        cdef bint first = self.noise.step == 0
        n = tp_noise_write(
            &self.noise, NULL if first else self.me.payload, 0 if first else self.me.payload_n, frame + 2, 510)
        if n < 0:
            return self._fail("Noise could not go on")
        frame[0] = n >> 8
        frame[1] = n & 255
        if tp_bytequeue_push(&self.out, frame, n + 2) != 0:
            return self._fail("no memory")
        return 1

    cdef int _noise_message(self) noexcept:
        cdef uint8_t* head = tp_bytequeue_head(&self.received)
        cdef size_t have = tp_bytequeue_size(&self.received)
        cdef size_t n, payload_n
        cdef uint8_t* payload
        cdef tp_payload theirs
        cdef uint8_t peer[48]
        cdef int peer_n
        cdef int step = self.noise.step
        if have < 2:
            return 0
        n = <size_t>head[0] << 8 | head[1]
        if n > HANDSHAKE_MESSAGE_MAX:
            return self._fail("a handshake message is too long")
        if have < 2 + n:
            return 0
        if tp_noise_read(&self.noise, head + 2, n, &payload, &payload_n) != 0:
            return self._fail("the Noise handshake is forged or truncated")
        if step > 0:
            if tp_payload_get(payload, payload_n, &theirs) != 0:
                return self._fail("the handshake payload is malformed")
            if tp_payload_verify(&theirs, self.noise.rs, peer, &peer_n) != 0:
                return self._fail("the identity key did not sign this connection")
            self.peer_id = peer[:peer_n]
            self.they_offer_yamux = theirs.offers_yamux
        tp_bytequeue_drop(&self.received, 2 + n)
        if tp_noise_writes(&self.noise):
            if self._put_noise() < 0:
                return -1
        if not tp_noise_done(&self.noise):
            return 1
        tp_noise_split(&self.noise, &self.send_cipher, &self.recv_cipher)
        if self.they_offer_yamux:
            self.stage = DONE
            return 1
        self.stage = MUXER_HEADER
        self.lines = 0
        if self.initiator:
            self._put_sealed(MULTISTREAM + b"\0" + YAMUX_ID)
        return 1

    cdef int _muxer_line(self) noexcept:
        cdef const uint8_t* text
        cdef size_t n, used
        cdef int r = 0
        if tp_bytequeue_size(&self.plain):
            r = self._read_line(&self.plain, &text, &n, &used)
            if r < 0:
                return r
        if r == 0:
            return self._open_message()
        if self.stage == MUXER_HEADER:
            if not is_line(text, n, MULTISTREAM):
                return self._fail("not multistream-select 1.0.0")
            if not self.initiator:
                self._put_sealed(MULTISTREAM)
            self.stage = MUXER_PROTOCOL
        elif is_line(text, n, YAMUX_ID):
            if not self.initiator:
                self._put_sealed(YAMUX_ID)
            self.stage = DONE
        elif self.initiator:
            return self._fail("the other side does not speak /yamux/1.0.0")
        else:
            self._put_sealed(NOT_AVAILABLE)
        tp_bytequeue_drop(&self.plain, used)
        return 1

    cdef int _open_message(self) noexcept:
        cdef uint8_t* head = tp_bytequeue_head(&self.received)
        cdef size_t have = tp_bytequeue_size(&self.received)
        cdef size_t n
        if have < 2:
            return 0
        n = <size_t>head[0] << 8 | head[1]
        if n < 16 or n > HANDSHAKE_MESSAGE_MAX:
            return self._fail("an encrypted message has an impossible length")
        if have < 2 + n:
            return 0
        if tp_open(self.aead, &self.recv_cipher, head + 2, n, NULL, 0) != 0:
            return self._fail("an encrypted message is forged")
        if tp_bytequeue_push(&self.plain, head + 2, n - 16) != 0:
            return self._fail("no memory")
        tp_bytequeue_drop(&self.received, 2 + n)
        return 1

    cdef void _put_line(self, tp_bytequeue* q, bytes text) noexcept:
        cdef uint8_t line[64]
        cdef int n = tp_multistream_put(line, 64, <const char*>text, len(text))
        tp_bytequeue_push(q, line, n)

    cdef void _put_sealed(self, bytes lines) noexcept:
        # lines: one or more, separated by NUL, sealed into one message
        cdef uint8_t frame[256]
        cdef size_t n = 0
        for text in lines.split(b"\0"):
            n += tp_multistream_put(frame + 2 + n, 200 - n, <const char*>(<bytes>text), len(text))
        tp_seal(self.aead, &self.send_cipher, frame + 2, frame + 2, n, NULL, 0)
        n += 16
        frame[0] = n >> 8
        frame[1] = n & 255
        tp_bytequeue_push(&self.out, frame, n + 2)

    cdef int _fail(self, str why) noexcept:
        self.stage = FAILED
        self.error = why
        return -1


cdef inline bint is_line(const uint8_t* text, size_t n, bytes expected) noexcept:
    return n == <size_t>len(expected) and memcmp(text, <const char*>expected, n) == 0
