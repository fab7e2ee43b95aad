/* Identify: slices lie in the input, and what is encoded again says the same. */
#include "identify_pb.h"
#include "target.h"

static int same(tp_slice a, tp_slice b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Empty entries are left out when encoding. */
static int present(const tp_slice *list, int n) {
    int count = 0;
    for (int i = 0; i < n; i++)
        count += list[i].n != 0;
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t out[2 * TP_IDENTIFY_MAX];
    static tp_identify m, again;
    if (tp_identify_get(data, size, &m) != 0)
        return 0;
    EXPECT(size <= TP_IDENTIFY_MAX && m.listen_n <= TP_IDENTIFY_LISTS && m.protocols_n <= TP_IDENTIFY_LISTS);
    for (int i = 0; i < m.listen_n; i++)
        EXPECT(is_within(m.listen[i].p, m.listen[i].n, data, size));
    for (int i = 0; i < m.protocols_n; i++)
        EXPECT(is_within(m.protocols[i].p, m.protocols[i].n, data, size));
    int n = tp_identify_put(out, sizeof out, &m);
    EXPECT(n >= 0 && (n == 0 || tp_identify_put(out, (size_t)n - 1, &m) == -1));
    EXPECT(tp_identify_put(out, (size_t)n, &m) == n && tp_identify_get(out, (size_t)n, &again) == 0);
    EXPECT(same(again.key_pb, m.key_pb) && same(again.observed, m.observed) && same(again.agent, m.agent));
    EXPECT(same(again.protocol_version, m.protocol_version) && same(again.signed_record, m.signed_record));
    EXPECT(again.listen_n == present(m.listen, m.listen_n));
    EXPECT(again.protocols_n == present(m.protocols, m.protocols_n));
    return 0;
}
