# The C core (native/core), as the Cython layer sees it. Each header documents its contract.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "varint.h" nogil:
    int tp_varint_get(const uint8_t* p, size_t n, uint64_t* value)
    size_t tp_varint_put(uint8_t* p, uint64_t value)

cdef extern from "aead.h" nogil:
    enum: TP_AEAD_TAG
    ctypedef enum tp_aead_kind:
        TP_AEAD_AUTO
        TP_AEAD_SODIUM
        TP_AEAD_OPENSSL
    ctypedef struct tp_aead:
        pass
    ctypedef struct tp_cipher:
        uint64_t nonce
    tp_aead* tp_aead_new(tp_aead_kind kind)
    void tp_aead_free(tp_aead* a)
    tp_aead_kind tp_aead_which(const tp_aead* a)
    void tp_cipher_init(tp_aead* a, tp_cipher* c, const uint8_t* key)
    void tp_cipher_wipe(tp_aead* a, tp_cipher* c)
    int tp_seal(tp_aead* a, tp_cipher* c, uint8_t* out, const uint8_t* data, size_t n, const uint8_t* ad, size_t ad_n)
    int tp_open(tp_aead* a, tp_cipher* c, uint8_t* buf, size_t n, const uint8_t* ad, size_t ad_n)

cdef extern from "noise.h" nogil:
    enum: TP_NOISE_MAX
    enum: TP_NOISE_PLAIN_MAX
    ctypedef struct tp_noise:
        int initiator
        int step
        uint8_t rs[32]
    void tp_noise_init(tp_noise* x, tp_aead* aead, int initiator, const uint8_t* public, const uint8_t* secret)
    int tp_noise_writes(const tp_noise* x)
    int tp_noise_done(const tp_noise* x)
    int tp_noise_write(tp_noise* x, const uint8_t* payload, size_t payload_n, uint8_t* out, size_t out_max)
    int tp_noise_read(tp_noise* x, uint8_t* msg, size_t n, uint8_t** payload, size_t* payload_n)
    void tp_noise_split(tp_noise* x, tp_cipher* send, tp_cipher* recv)
    void tp_noise_wipe(tp_noise* x)

cdef extern from "yamux.h" nogil:
    enum: TP_YAMUX_HEADER
    enum: TP_YAMUX_WINDOW
    enum: TP_YAMUX_DATA
    enum: TP_YAMUX_WINDOW_UPDATE
    enum: TP_YAMUX_PING
    enum: TP_YAMUX_GO_AWAY
    enum: TP_YAMUX_SYN
    enum: TP_YAMUX_ACK
    enum: TP_YAMUX_FIN
    enum: TP_YAMUX_RST
    ctypedef struct tp_yamux_header:
        uint8_t version
        uint8_t type
        uint16_t flags
        uint32_t stream
        uint32_t length
    uint32_t tp_be32(const uint8_t* p)
    void tp_put_be32(uint8_t* p, uint32_t v)
    void tp_yamux_get(const uint8_t* p, tp_yamux_header* h)
    void tp_yamux_put(uint8_t* p, uint8_t type, uint16_t flags, uint32_t stream, uint32_t length)

cdef extern from "key.h" nogil:
    enum: TP_PEER_ID_MAX
    enum: TP_ED25519_PB
    int tp_key_verify(
        const uint8_t* pb, size_t pb_n, const uint8_t* msg, size_t msg_n, const uint8_t* sig, size_t sig_n)
    int tp_peer_id_of_key(const uint8_t* pb, size_t pb_n, uint8_t* out)
    int tp_peer_id_valid(const uint8_t* id, size_t n)
    void tp_ed25519_pb(const uint8_t* public_key, uint8_t* out)

cdef extern from "handshake_payload.h" nogil:
    ctypedef struct tp_payload:
        int has_muxers
        int offers_yamux
    int tp_payload_get(const uint8_t* p, size_t n, tp_payload* out)
    size_t tp_payload_put(uint8_t* out, const uint8_t* key_pb, const uint8_t* signature, int with_muxer)
    int tp_payload_verify(const tp_payload* p, const uint8_t* static_key, uint8_t* peer_id, int* peer_id_n)

cdef extern from "circuit_pb.h" nogil:
    enum: TP_HOP_MAX
    enum: TP_HOP_ADDRS
    enum: TP_HOP_RESERVE
    enum: TP_HOP_CONNECT
    enum: TP_HOP_STATUS
    enum: TP_STOP_CONNECT
    enum: TP_STOP_STATUS
    enum: TP_OK
    enum: TP_RESERVATION_REFUSED
    enum: TP_RESOURCE_LIMIT_EXCEEDED
    enum: TP_PERMISSION_DENIED
    enum: TP_CONNECTION_FAILED
    enum: TP_NO_RESERVATION
    enum: TP_MALFORMED_MESSAGE
    enum: TP_UNEXPECTED_MESSAGE
    ctypedef struct tp_slice:
        const uint8_t* p
        size_t n
    ctypedef struct tp_circuit_msg:
        int type
        int has_peer
        tp_slice peer_id
        tp_slice addrs[64]
        int addrs_n
        int has_reservation
        uint64_t expire
        tp_slice voucher
        int has_limit
        uint64_t limit_duration
        uint64_t limit_data
        int status
    ctypedef struct tp_voucher:
        tp_slice relay
        tp_slice peer
        tp_slice signer_key_pb
        uint64_t expire
    int tp_hop_get(const uint8_t* p, size_t n, tp_circuit_msg* m)
    int tp_stop_get(const uint8_t* p, size_t n, tp_circuit_msg* m)
    int tp_hop_put(uint8_t* out, size_t out_max, const tp_circuit_msg* m)
    int tp_stop_put(uint8_t* out, size_t out_max, const tp_circuit_msg* m)
    int tp_voucher_put(
        uint8_t* out, size_t out_max, const uint8_t* public, const uint8_t* secret, tp_slice relay, tp_slice peer,
        uint64_t expire)
    int tp_voucher_get(const uint8_t* p, size_t n, tp_voucher* out)

cdef extern from "identify_pb.h" nogil:
    enum: TP_IDENTIFY_MAX
    enum: TP_IDENTIFY_LISTS
    ctypedef struct tp_identify:
        tp_slice key_pb
        tp_slice observed
        tp_slice protocol_version
        tp_slice agent
        tp_slice listen[128]
        tp_slice protocols[128]
        tp_slice signed_record
        int listen_n
        int protocols_n
    int tp_identify_get(const uint8_t* p, size_t n, tp_identify* m)
    int tp_identify_put(uint8_t* out, size_t out_max, const tp_identify* m)

cdef extern from "autonat_pb.h" nogil:
    enum: TP_AUTONAT_MAX
    enum: TP_AUTONAT_DATA_MAX
    enum: TP_AUTONAT_REQUEST
    enum: TP_AUTONAT_RESPONSE
    enum: TP_AUTONAT_DATA_REQUEST
    enum: TP_AUTONAT_DATA
    enum: TP_AUTONAT_INTERNAL_ERROR
    enum: TP_AUTONAT_REJECTED
    enum: TP_AUTONAT_OK
    enum: TP_AUTONAT_DIAL_ERROR
    enum: TP_AUTONAT_DIAL_BACK_ERROR
    enum: TP_AUTONAT_DIAL_OK
    enum: TP_DIAL_BACK_MAX
    ctypedef struct tp_autonat_msg:
        int kind
        tp_slice addrs[50]
        int addrs_n
        uint64_t nonce
        int status
        int dial_status
        uint32_t index
        uint64_t bytes
        tp_slice data
    int tp_autonat_get(const uint8_t* p, size_t n, tp_autonat_msg* m)
    int tp_autonat_put(uint8_t* out, size_t out_max, const tp_autonat_msg* m)
    int tp_dial_back_get(const uint8_t* p, size_t n, uint64_t* nonce)
    int tp_dial_back_put(uint8_t* out, size_t out_max, uint64_t nonce)

cdef extern from "multiaddr.h" nogil:
    struct sockaddr:
        pass
    enum: TP_MULTIADDR_SOCKET_MAX
    int tp_multiaddr_valid(const uint8_t* p, size_t n)
    int tp_multiaddr_of_socket(const sockaddr* sa, uint8_t* out)
    int tp_multiaddr_is_circuit(const uint8_t* p, size_t n)

cdef extern from "multistream.h" nogil:
    enum: TP_MULTISTREAM_LINE_MAX
    int tp_multistream_get(const uint8_t* p, size_t n, const uint8_t** text, size_t* text_n)
    int tp_multistream_put(uint8_t* out, size_t out_max, const char* text, size_t text_n)

cdef extern from "histogram.h" nogil:
    ctypedef struct tp_histogram:
        uint64_t count
        uint64_t sum
        uint64_t max
    void tp_histogram_add(tp_histogram* h, uint64_t ns)
    uint64_t tp_histogram_quantile(const tp_histogram* h, double q)
    void tp_histogram_clear(tp_histogram* h)

cdef extern from "bytequeue.h" nogil:
    ctypedef struct tp_bytequeue:
        uint8_t* base
        size_t start
        size_t end
        size_t capacity
    size_t tp_bytequeue_size(const tp_bytequeue* q)
    uint8_t* tp_bytequeue_head(tp_bytequeue* q)
    int tp_bytequeue_push(tp_bytequeue* q, const uint8_t* p, size_t n)
    void tp_bytequeue_drop(tp_bytequeue* q, size_t n)
    void tp_bytequeue_free(tp_bytequeue* q)

cdef extern from "idmap.h" nogil:
    ctypedef struct tp_idmap:
        uint32_t capacity
        uint32_t count
    void* tp_idmap_get(const tp_idmap* m, uint32_t id)
    int tp_idmap_put(tp_idmap* m, uint32_t id, void* value)
    void* tp_idmap_remove(tp_idmap* m, uint32_t id)
    void* tp_idmap_next(const tp_idmap* m, uint32_t* cursor)
    void tp_idmap_free(tp_idmap* m)

cdef extern from "bucket.h" nogil:
    enum: TP_BUCKET_RATE_MAX
    ctypedef struct tp_bucket:
        uint64_t rate
        uint64_t burst
        uint64_t tokens
        uint64_t at_ns
    void tp_bucket_set(tp_bucket* b, uint64_t rate, uint64_t now_ns)
    uint64_t tp_bucket_fill(tp_bucket* b, uint64_t now_ns)
    void tp_bucket_take(tp_bucket* b, uint64_t n)
    uint64_t tp_bucket_wait_ns(const tp_bucket* b, uint64_t want)

cdef extern from "wheel.h" nogil:
    enum: TP_WHEEL_TICK_MS
    ctypedef struct tp_timer:
        tp_timer* next
        tp_timer* prev
        uint64_t deadline_ms
    ctypedef struct tp_wheel:
        uint64_t armed
    void tp_wheel_init(tp_wheel* w, uint64_t now_ms)
    void tp_wheel_arm(tp_wheel* w, tp_timer* t, uint64_t deadline_ms)
    void tp_wheel_disarm(tp_wheel* w, tp_timer* t)
    tp_timer* tp_wheel_pop(tp_wheel* w, uint64_t now_ms)
