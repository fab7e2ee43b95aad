/* AutoNAT v2: slices lie in the input, and what is encoded again says the same. The first byte of the input
 * tells whether a DialBack follows. */
#include "autonat_pb.h"
#include "target.h"

static int same(tp_slice a, tp_slice b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static void check_dial_back(const uint8_t *data, size_t size) {
    uint8_t out[16];
    uint64_t nonce, again;
    if (tp_dial_back_get(data, size, &nonce) != 0)
        return;
    EXPECT(size <= TP_DIAL_BACK_MAX);
    int n = tp_dial_back_put(out, sizeof out, nonce);
    EXPECT(n == 9 && tp_dial_back_put(out, 8, nonce) == -1);
    EXPECT(tp_dial_back_get(out, (size_t)n, &again) == 0 && again == nonce);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t out[2 * TP_AUTONAT_MAX];
    static tp_autonat_msg m, again;
    if (size == 0)
        return 0;
    if (data[0] & 1) {
        check_dial_back(data + 1, size - 1);
        return 0;
    }
    data++;
    size--;
    if (tp_autonat_get(data, size, &m) != 0)
        return 0;
    EXPECT(size <= TP_AUTONAT_MAX && m.addrs_n >= 0 && m.addrs_n <= TP_AUTONAT_ADDRS);
    EXPECT(m.kind >= TP_AUTONAT_NOTHING && m.kind <= TP_AUTONAT_DATA && m.status >= 0 && m.dial_status >= 0);
    EXPECT(is_within(m.data.p, m.data.n, data, size));
    for (int i = 0; i < m.addrs_n; i++)
        EXPECT(is_within(m.addrs[i].p, m.addrs[i].n, data, size));
    int n = tp_autonat_put(out, sizeof out, &m);
    EXPECT(n >= 0 && (n == 0 || tp_autonat_put(out, (size_t)n - 1, &m) == -1));
    EXPECT(tp_autonat_put(out, (size_t)n, &m) == n);
    EXPECT(n > TP_AUTONAT_MAX || tp_autonat_get(out, (size_t)n, &again) == 0);
    if (n > TP_AUTONAT_MAX)
        return 0;
    EXPECT(again.kind == m.kind && again.nonce == m.nonce && again.status == m.status);
    EXPECT(again.dial_status == m.dial_status && again.index == m.index && again.bytes == m.bytes);
    EXPECT(same(again.data, m.data) && again.addrs_n == m.addrs_n);
    for (int i = 0; i < m.addrs_n; i++)
        EXPECT(same(again.addrs[i], m.addrs[i]));
    return 0;
}
