/* Owns the encoding of HopMessage, StopMessage and the reservation voucher. */
#include "circuit_pb.h"
#include "pb.h"
#include "varint.h"

#include <sodium.h>
#include <string.h>

enum { TYPE = 1, PEER = 2 };                                 /* of both messages */
enum { HOP_RESERVATION = 3, HOP_LIMIT = 4, HOP_STATUS = 5 }; /* of HopMessage */
enum { STOP_LIMIT = 3, STOP_STATUS = 4 };                    /* of StopMessage */
enum { PEER_ID = 1, PEER_ADDRS = 2 };                        /* of Peer */
enum { EXPIRE = 1, RESERVATION_ADDRS = 2, VOUCHER = 3 };     /* of Reservation */
enum { LIMIT_DURATION = 1, LIMIT_DATA = 2 };                 /* of Limit */
enum { VOUCHER_RELAY = 1, VOUCHER_PEER = 2, VOUCHER_EXPIRE = 3 };
enum { ENVELOPE_KEY = 1, ENVELOPE_TYPE = 2, ENVELOPE_PAYLOAD = 3, ENVELOPE_SIGNATURE = 5 };

static const char voucher_domain[] = "libp2p-relay-rsvp";
static const uint8_t voucher_type[] = {0x03, 0x02};

typedef struct {
    tp_slice items[TP_HOP_ADDRS];
    int n;
} address_list;

static int add_address(address_list *list, tp_slice s) {
    if (list->n == TP_HOP_ADDRS)
        return -1;
    list->items[list->n++] = s;
    return 0;
}

static int peer_get(tp_slice s, tp_circuit_msg *m, address_list *addrs) {
    tp_pb_reader r = tp_pb_read(s.p, s.n);
    tp_pb_field f;
    int more;
    m->has_peer = 1;
    m->peer_id = (tp_slice){NULL, 0};
    addrs->n = 0;
    while ((more = tp_pb_next(&r, &f)) > 0) {
        if (f.number != PEER_ID && f.number != PEER_ADDRS)
            continue;
        if (f.wire != TP_PB_BYTES)
            return -1;
        if (f.number == PEER_ID)
            m->peer_id = f.bytes;
        else if (add_address(addrs, f.bytes) != 0)
            return -1;
    }
    return more;
}

static int reservation_get(tp_slice s, tp_circuit_msg *m, address_list *addrs) {
    tp_pb_reader r = tp_pb_read(s.p, s.n);
    tp_pb_field f;
    int more;
    m->has_reservation = 1;
    m->expire = 0;
    m->voucher = (tp_slice){NULL, 0};
    addrs->n = 0;
    while ((more = tp_pb_next(&r, &f)) > 0) {
        if (f.number < EXPIRE || f.number > VOUCHER)
            continue;
        if (f.wire != (f.number == EXPIRE ? TP_PB_VARINT : TP_PB_BYTES))
            return -1;
        if (f.number == EXPIRE)
            m->expire = f.value;
        else if (f.number == VOUCHER)
            m->voucher = f.bytes;
        else if (add_address(addrs, f.bytes) != 0)
            return -1;
    }
    return more;
}

static int limit_get(tp_slice s, tp_circuit_msg *m) {
    tp_pb_reader r = tp_pb_read(s.p, s.n);
    tp_pb_field f;
    int more;
    m->has_limit = 1;
    m->limit_duration = m->limit_data = 0;
    while ((more = tp_pb_next(&r, &f)) > 0) {
        if (f.number != LIMIT_DURATION && f.number != LIMIT_DATA)
            continue;
        if (f.wire != TP_PB_VARINT)
            return -1;
        if (f.number == LIMIT_DURATION)
            m->limit_duration = f.value;
        else
            m->limit_data = f.value;
    }
    return more;
}

/* One message of either kind; a reservation number of 0 means that the kind has none. */
static int message_get(const uint8_t *p, size_t n, tp_circuit_msg *m, uint32_t reservation, uint32_t limit,
                       uint32_t status) {
    tp_pb_reader r = tp_pb_read(p, n);
    tp_pb_field f;
    address_list of_peer, of_reservation;
    int more;
    memset(m, 0, sizeof *m);
    m->type = m->status = -1;
    of_peer.n = of_reservation.n = 0;
    while ((more = tp_pb_next(&r, &f)) > 0) {
        if (f.number > status)
            continue;
        if (f.wire != (f.number == TYPE || f.number == status ? TP_PB_VARINT : TP_PB_BYTES))
            return -1;
        int bad = 0;
        if (f.number == TYPE)
            m->type = tp_pb_int(&f);
        else if (f.number == status)
            m->status = tp_pb_int(&f);
        else if (f.number == PEER)
            bad = peer_get(f.bytes, m, &of_peer);
        else if (f.number == limit)
            bad = limit_get(f.bytes, m);
        else if (f.number == reservation)
            bad = reservation_get(f.bytes, m, &of_reservation);
        if (bad != 0)
            return -1;
    }
    const address_list *addrs = m->has_reservation ? &of_reservation : &of_peer;
    m->addrs_n = addrs->n;
    memcpy(m->addrs, addrs->items, (size_t)addrs->n * sizeof *addrs->items);
    return more;
}

int tp_hop_get(const uint8_t *p, size_t n, tp_circuit_msg *m) {
    return message_get(p, n, m, HOP_RESERVATION, HOP_LIMIT, HOP_STATUS);
}

int tp_stop_get(const uint8_t *p, size_t n, tp_circuit_msg *m) {
    return message_get(p, n, m, 0, STOP_LIMIT, STOP_STATUS);
}

static size_t addrs_size(const tp_circuit_msg *m, uint32_t number) {
    size_t n = 0;
    for (int i = 0; i < m->addrs_n; i++)
        n += tp_pb_bytes_size(number, m->addrs[i].n);
    return n;
}

static void put_addrs(tp_pb_writer *w, const tp_circuit_msg *m, uint32_t number) {
    for (int i = 0; i < m->addrs_n; i++)
        tp_pb_put_bytes(w, number, m->addrs[i]);
}

static void put_peer(tp_pb_writer *w, const tp_circuit_msg *m) {
    int own_addrs = !m->has_reservation;
    tp_pb_put_header(w, PEER,
                     tp_pb_bytes_size(PEER_ID, m->peer_id.n) + (own_addrs ? addrs_size(m, PEER_ADDRS) : 0));
    tp_pb_put_bytes(w, PEER_ID, m->peer_id);
    if (own_addrs)
        put_addrs(w, m, PEER_ADDRS);
}

static void put_reservation(tp_pb_writer *w, const tp_circuit_msg *m) {
    size_t voucher = m->voucher.n == 0 ? 0 : tp_pb_bytes_size(VOUCHER, m->voucher.n);
    tp_pb_put_header(w, HOP_RESERVATION,
                     tp_pb_varint_size(EXPIRE, m->expire) + addrs_size(m, RESERVATION_ADDRS) + voucher);
    tp_pb_put_varint(w, EXPIRE, m->expire);
    put_addrs(w, m, RESERVATION_ADDRS);
    if (voucher != 0)
        tp_pb_put_bytes(w, VOUCHER, m->voucher);
}

static void put_limit(tp_pb_writer *w, const tp_circuit_msg *m, uint32_t number) {
    size_t duration = m->limit_duration == 0 ? 0 : tp_pb_varint_size(LIMIT_DURATION, m->limit_duration);
    size_t data = m->limit_data == 0 ? 0 : tp_pb_varint_size(LIMIT_DATA, m->limit_data);
    if (!m->has_limit || duration + data == 0)
        return;
    tp_pb_put_header(w, number, duration + data);
    if (duration != 0)
        tp_pb_put_varint(w, LIMIT_DURATION, m->limit_duration);
    if (data != 0)
        tp_pb_put_varint(w, LIMIT_DATA, m->limit_data);
}

static int message_put(uint8_t *out, size_t out_max, const tp_circuit_msg *m, int may_reserve, uint32_t limit,
                       uint32_t status) {
    tp_pb_writer w = {out, out_max, 0};
    if (m->type >= 0)
        tp_pb_put_varint(&w, TYPE, (uint64_t)m->type);
    if (m->has_peer)
        put_peer(&w, m);
    if (m->has_reservation && may_reserve)
        put_reservation(&w, m);
    put_limit(&w, m, limit);
    if (m->status >= 0)
        tp_pb_put_varint(&w, status, (uint64_t)m->status);
    return tp_pb_done(&w);
}

int tp_hop_put(uint8_t *out, size_t out_max, const tp_circuit_msg *m) {
    return message_put(out, out_max, m, 1, HOP_LIMIT, HOP_STATUS);
}

int tp_stop_put(uint8_t *out, size_t out_max, const tp_circuit_msg *m) {
    return message_put(out, out_max, m, 0, STOP_LIMIT, STOP_STATUS);
}

/* What an envelope's signature covers: domain, payload type and payload, each behind its length. */
static int signed_bytes(uint8_t *out, size_t out_max, tp_slice payload) {
    tp_pb_writer w = {out, out_max, 0};
    uint8_t length[10];
    tp_slice parts[3] = {{(const uint8_t *)voucher_domain, sizeof voucher_domain - 1},
                         {voucher_type, sizeof voucher_type},
                         payload};
    for (int i = 0; i < 3; i++) {
        tp_pb_put_raw(&w, length, tp_varint_put(length, parts[i].n));
        tp_pb_put_raw(&w, parts[i].p, parts[i].n);
    }
    return tp_pb_done(&w);
}

int tp_voucher_put(uint8_t *out, size_t out_max, const uint8_t public_key[32], const uint8_t secret[64],
                   tp_slice relay, tp_slice peer, uint64_t expire) {
    uint8_t key_pb[TP_ED25519_PB], signature[crypto_sign_BYTES];
    uint8_t payload[2 * TP_PEER_ID_MAX + 16], message[sizeof payload + 64];
    tp_pb_writer v = {payload, sizeof payload, 0}, w = {out, out_max, 0};
    tp_pb_put_bytes(&v, VOUCHER_RELAY, relay);
    tp_pb_put_bytes(&v, VOUCHER_PEER, peer);
    tp_pb_put_varint(&v, VOUCHER_EXPIRE, expire);
    if (tp_pb_done(&v) < 0)
        return -1;
    int n = signed_bytes(message, sizeof message, (tp_slice){payload, v.n});
    if (n < 0 || crypto_sign_detached(signature, NULL, message, (size_t)n, secret) != 0)
        return -1;
    tp_ed25519_pb(public_key, key_pb);
    tp_pb_put_bytes(&w, ENVELOPE_KEY, (tp_slice){key_pb, sizeof key_pb});
    tp_pb_put_bytes(&w, ENVELOPE_TYPE, (tp_slice){voucher_type, sizeof voucher_type});
    tp_pb_put_bytes(&w, ENVELOPE_PAYLOAD, (tp_slice){payload, v.n});
    tp_pb_put_bytes(&w, ENVELOPE_SIGNATURE, (tp_slice){signature, sizeof signature});
    return tp_pb_done(&w);
}

static int voucher_fields(tp_slice s, tp_voucher *out) {
    tp_pb_reader r = tp_pb_read(s.p, s.n);
    tp_pb_field f;
    int more, has_expire = 0;
    while ((more = tp_pb_next(&r, &f)) > 0) {
        if (f.number > VOUCHER_EXPIRE)
            continue;
        if (f.wire != (f.number == VOUCHER_EXPIRE ? TP_PB_VARINT : TP_PB_BYTES))
            return -1;
        if (f.number == VOUCHER_RELAY) {
            out->relay = f.bytes;
        } else if (f.number == VOUCHER_PEER) {
            out->peer = f.bytes;
        } else {
            out->expire = f.value;
            has_expire = 1;
        }
    }
    return more == 0 && has_expire && tp_peer_id_valid(out->relay.p, out->relay.n) &&
                   tp_peer_id_valid(out->peer.p, out->peer.n)
               ? 0
               : -1;
}

int tp_voucher_get(const uint8_t *p, size_t n, tp_voucher *out) {
    uint8_t message[TP_HOP_MAX + 64], signer[TP_PEER_ID_MAX];
    tp_slice fields[ENVELOPE_SIGNATURE + 1] = {{NULL, 0}};
    tp_pb_reader r = tp_pb_read(p, n);
    tp_pb_field f;
    int more;
    memset(out, 0, sizeof *out);
    if (n > TP_HOP_MAX)
        return -1;
    while ((more = tp_pb_next(&r, &f)) > 0) {
        if (f.number > ENVELOPE_SIGNATURE)
            continue;
        if (f.wire != TP_PB_BYTES)
            return -1;
        fields[f.number] = f.bytes;
    }
    tp_slice key = fields[ENVELOPE_KEY], type = fields[ENVELOPE_TYPE], signature = fields[ENVELOPE_SIGNATURE];
    if (more < 0 || type.n != sizeof voucher_type || memcmp(type.p, voucher_type, sizeof voucher_type) != 0)
        return -1;
    int signed_n = signed_bytes(message, sizeof message, fields[ENVELOPE_PAYLOAD]);
    int signer_n = tp_peer_id_of_key(key.p, key.n, signer);
    if (signed_n < 0 || signer_n < 0 ||
        tp_key_verify(key.p, key.n, message, (size_t)signed_n, signature.p, signature.n) != 0)
        return -1;
    if (voucher_fields(fields[ENVELOPE_PAYLOAD], out) != 0 || out->relay.n != (size_t)signer_n ||
        memcmp(out->relay.p, signer, out->relay.n) != 0)
        return -1;
    out->signer_key_pb = key;
    return 0;
}
