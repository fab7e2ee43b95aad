/* What holds for HOP and STOP messages alike. Owned by hop.c and stop.c. */
#ifndef TP_FUZZ_CIRCUIT_MESSAGE_H
#define TP_FUZZ_CIRCUIT_MESSAGE_H
#include "circuit_pb.h"
#include "target.h"

static int same(tp_slice a, tp_slice b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Every slice lies in the input; encoding and decoding again gives the same message, in at most as many bytes
 * as there is room for. */
static void check_circuit_message(int (*get)(const uint8_t *, size_t, tp_circuit_msg *),
                                  int (*put)(uint8_t *, size_t, const tp_circuit_msg *), const uint8_t *data,
                                  size_t size) {
    static uint8_t out[2 * TP_HOP_MAX];
    tp_circuit_msg m, again;
    if (size > TP_HOP_MAX || get(data, size, &m) != 0)
        return;
    EXPECT(m.type >= -1 && m.status >= -1 && m.addrs_n >= 0 && m.addrs_n <= TP_HOP_ADDRS);
    EXPECT(is_within(m.peer_id.p, m.peer_id.n, data, size) &&
           is_within(m.voucher.p, m.voucher.n, data, size));
    for (int i = 0; i < m.addrs_n; i++)
        EXPECT(is_within(m.addrs[i].p, m.addrs[i].n, data, size));
    int n = put(out, sizeof out, &m);
    EXPECT(n >= 0 && put(out, (size_t)n, &m) == n && (n == 0 || put(out, (size_t)n - 1, &m) == -1));
    EXPECT(put(out, sizeof out, &m) == n && get(out, (size_t)n, &again) == 0);
    EXPECT(again.type == m.type && again.status == m.status && again.has_peer == m.has_peer);
    EXPECT(same(again.peer_id, m.peer_id) && same(again.voucher, m.voucher) && again.expire == m.expire);
    EXPECT(again.has_reservation == m.has_reservation);
    EXPECT(again.limit_duration == m.limit_duration && again.limit_data == m.limit_data);
    if (m.has_peer || m.has_reservation) {
        EXPECT(again.addrs_n == m.addrs_n);
        for (int i = 0; i < m.addrs_n; i++)
            EXPECT(same(again.addrs[i], m.addrs[i]));
    }
}
#endif
