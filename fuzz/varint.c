/* Varints of both kinds: what is read is written back, and cuts never change what a longer input says. */
#include "target.h"
#include "varint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint64_t value = 0, lax = 0;
    uint8_t out[10];
    int used = tp_varint_get(data, size, &value), used_pb = tp_varint_get_pb(data, size, &lax);
    EXPECT(used >= -1 && used <= TP_VARINT_MAX && (used < 0 || (size_t)used <= size));
    EXPECT(used_pb >= -1 && used_pb <= 10 && (used_pb < 0 || (size_t)used_pb <= size));
    if (used > 0) {
        EXPECT(used_pb == used && lax == value && value >> 63 == 0);
        EXPECT(tp_varint_put(out, value) == (size_t)used && memcmp(out, data, (size_t)used) == 0);
        EXPECT(tp_varint_get(data, (size_t)used - 1, &value) == 0);
    }
    if (used_pb > 0)
        EXPECT(tp_varint_put(out, lax) <= (size_t)used_pb && tp_varint_size(lax) <= (size_t)used_pb);
    return 0;
}
