/* Vouchers: whatever verifies names valid peer ids within the input, and its signer is its relay. The first
 * byte chooses between the bytes as they are and the rest as the payload of an envelope that is signed
 * properly, which gets behind the signature. */
#include "circuit_pb.h"
#include "target.h"

#include <sodium.h>

static void check(const uint8_t *p, size_t n) {
    tp_voucher v;
    uint8_t id[TP_PEER_ID_MAX];
    if (tp_voucher_get(p, n, &v) != 0)
        return;
    EXPECT(is_within(v.relay.p, v.relay.n, p, n) && tp_peer_id_valid(v.relay.p, v.relay.n));
    EXPECT(is_within(v.peer.p, v.peer.n, p, n) && tp_peer_id_valid(v.peer.p, v.peer.n));
    EXPECT(is_within(v.signer_key_pb.p, v.signer_key_pb.n, p, n));
    EXPECT(tp_peer_id_of_key(v.signer_key_pb.p, v.signer_key_pb.n, id) == (int)v.relay.n);
    EXPECT(memcmp(id, v.relay.p, v.relay.n) == 0);
}

/* An envelope around a payload of at most 127 bytes, by the Ed25519 key whose seed is 32 times 01. */
static size_t seal(const uint8_t *payload, uint8_t n, uint8_t out[300]) {
    static const uint8_t seed[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                     1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    uint8_t public_key[32], secret[64], covered[32 + 127] = "\x11libp2p-relay-rsvp\x02\x03\x02";
    uint8_t *p = out;
    crypto_sign_seed_keypair(public_key, secret, seed);
    covered[21] = n;
    memcpy(covered + 22, payload, n);
    *p++ = 0x0a;
    *p++ = TP_ED25519_PB;
    tp_ed25519_pb(public_key, p);
    p += TP_ED25519_PB;
    memcpy(p, "\x12\x02\x03\x02\x1a", 5);
    p += 5;
    *p++ = n;
    memcpy(p, payload, n);
    p += n;
    *p++ = 0x2a;
    *p++ = crypto_sign_BYTES;
    crypto_sign_detached(p, NULL, covered, 22U + n, secret);
    return (size_t)(p - out) + crypto_sign_BYTES;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t out[300];
    tp_voucher v;
    if (size == 0 || sodium_init() < 0)
        return 0;
    check(data, size);
    if (size <= 128 && data[0] == 0) {
        size_t n = seal(data + 1, (uint8_t)(size - 1), out);
        check(out, n);
        out[n - 1] ^= 1;
        EXPECT(tp_voucher_get(out, n, &v) == -1);
    }
    return 0;
}
