/* Owns the payload of the Noise handshake: who stands behind a static key. */
#include "handshake_payload.h"
#include "pb.h"

#include <string.h>

enum { IDENTITY_KEY = 1, IDENTITY_SIGNATURE = 2, EXTENSIONS = 4, STREAM_MUXERS = 2 };

static const char yamux[] = "/yamux/1.0.0";
static const char signed_prefix[] = "noise-libp2p-static-key:";

static int extensions_get(tp_slice s, tp_payload *out) {
    tp_pb_reader r = tp_pb_read(s.p, s.n);
    tp_pb_field f;
    int more;
    while ((more = tp_pb_next(&r, &f)) > 0) {
        if (f.number != STREAM_MUXERS)
            continue;
        if (f.wire != TP_PB_BYTES)
            return -1;
        out->has_muxers = 1;
        if (f.bytes.n == sizeof yamux - 1 && memcmp(f.bytes.p, yamux, sizeof yamux - 1) == 0)
            out->offers_yamux = 1;
    }
    return more;
}

int tp_payload_get(const uint8_t *p, size_t n, tp_payload *out) {
    tp_pb_reader r = tp_pb_read(p, n);
    tp_pb_field f;
    int more;
    memset(out, 0, sizeof *out);
    if (n > TP_PAYLOAD_MAX)
        return -1;
    while ((more = tp_pb_next(&r, &f)) > 0) {
        if (f.number != IDENTITY_KEY && f.number != IDENTITY_SIGNATURE && f.number != EXTENSIONS)
            continue;
        if (f.wire != TP_PB_BYTES)
            return -1;
        if (f.number == IDENTITY_KEY) {
            out->key_pb = f.bytes.p;
            out->key_pb_n = f.bytes.n;
        } else if (f.number == IDENTITY_SIGNATURE) {
            out->signature = f.bytes.p;
            out->signature_n = f.bytes.n;
        } else if (extensions_get(f.bytes, out) < 0) {
            return -1;
        }
    }
    return more == 0 && out->key_pb_n != 0 && out->signature_n != 0 ? 0 : -1;
}

size_t tp_payload_put(uint8_t out[160], const uint8_t key_pb[TP_ED25519_PB], const uint8_t signature[64],
                      int with_muxer) {
    tp_pb_writer w = {out, 160, 0};
    tp_slice muxer = {(const uint8_t *)yamux, sizeof yamux - 1};
    tp_pb_put_bytes(&w, IDENTITY_KEY, (tp_slice){key_pb, TP_ED25519_PB});
    tp_pb_put_bytes(&w, IDENTITY_SIGNATURE, (tp_slice){signature, 64});
    if (with_muxer) {
        tp_pb_put_header(&w, EXTENSIONS, tp_pb_bytes_size(STREAM_MUXERS, muxer.n));
        tp_pb_put_bytes(&w, STREAM_MUXERS, muxer);
    }
    return w.n;
}

int tp_payload_verify(const tp_payload *p, const uint8_t static_key[32], uint8_t peer_id[TP_PEER_ID_MAX],
                      int *peer_id_n) {
    uint8_t msg[sizeof signed_prefix - 1 + 32];
    memcpy(msg, signed_prefix, sizeof signed_prefix - 1);
    memcpy(msg + sizeof signed_prefix - 1, static_key, 32);
    int n = tp_peer_id_of_key(p->key_pb, p->key_pb_n, peer_id);
    if (n < 0 || tp_key_verify(p->key_pb, p->key_pb_n, msg, sizeof msg, p->signature, p->signature_n) != 0)
        return -1;
    *peer_id_n = n;
    return 0;
}
