/* The Noise handshake payload: nothing but the seed, signed for this static key, verifies. */
#include "handshake_payload.h"
#include "target.h"

#include <sodium.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t static_key[32] = {0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a,
                                           0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a,
                                           0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a};
    uint8_t other_key[32] = {0}, id[TP_PEER_ID_MAX];
    int id_n = 0;
    tp_payload p;
    if (sodium_init() < 0 || tp_payload_get(data, size, &p) != 0)
        return 0;
    EXPECT(size <= TP_PAYLOAD_MAX && p.key_pb_n != 0 && p.signature_n != 0 && p.has_muxers >= p.offers_yamux);
    EXPECT(is_within(p.key_pb, p.key_pb_n, data, size) && is_within(p.signature, p.signature_n, data, size));
    if (tp_payload_verify(&p, static_key, id, &id_n) == 0) {
        EXPECT(id_n > 0 && tp_peer_id_valid(id, (size_t)id_n));
        EXPECT(tp_payload_verify(&p, other_key, id, &id_n) == -1);
    }
    return 0;
}
