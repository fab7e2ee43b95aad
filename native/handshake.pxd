from libc.stdint cimport uint8_t, uint64_t

from towpath._native.core cimport tp_aead, tp_bytequeue, tp_cipher, tp_noise, tp_payload

cdef enum Stage:
    SECURITY_HEADER            # multistream: who speaks what
    SECURITY_PROTOCOL
    NOISE
    MUXER_HEADER               # multistream again, encrypted, when Noise's payloads did not settle it
    MUXER_PROTOCOL
    DONE
    FAILED


cdef class Identity:
    cdef readonly bytes peer_id
    cdef readonly bytes public_key
    cdef uint8_t secret[64]            # libsodium's Ed25519 secret key
    cdef uint8_t noise_public[32]
    cdef uint8_t noise_secret[32]
    cdef uint8_t key_pb[36]
    cdef uint8_t payload[160]          # ours in every handshake: key, signature over the static key, muxers
    cdef size_t payload_n


cdef class Handshake:
    cdef Identity me
    cdef tp_aead* aead
    cdef tp_noise noise
    cdef bint initiator
    cdef Stage stage
    cdef int lines                     # multistream lines read, bounded
    cdef bint they_offer_yamux
    cdef tp_bytequeue received
    cdef tp_bytequeue plain            # decrypted, not yet consumed
    cdef tp_bytequeue out              # to be sent as it is
    cdef tp_cipher send_cipher
    cdef tp_cipher recv_cipher
    cdef bytes peer_id
    cdef readonly str error

    cdef void begin(self) noexcept
    cdef int feed(self, const uint8_t* p, size_t n) noexcept
    cdef int _step(self) noexcept
    cdef int _security_line(self) noexcept
    cdef int _noise_message(self) noexcept
    cdef int _muxer_line(self) noexcept
    cdef int _open_message(self) noexcept
    cdef int _read_line(self, tp_bytequeue* q, const uint8_t** text, size_t* n, size_t* used) noexcept
    cdef void _put_line(self, tp_bytequeue* q, bytes text) noexcept
    cdef int _put_noise(self) noexcept
    cdef void _put_sealed(self, bytes lines) noexcept
    cdef int _fail(self, str why) noexcept
