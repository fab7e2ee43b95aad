/* Multiaddrs: joining two valid ones gives a valid one, which is a circuit if one of them is. */
#include "multiaddr.h"
#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t circuit[2] = {0xa2, 0x02};
    uint8_t joined[TP_MULTIADDR_MAX + 2];
    int is_circuit = tp_multiaddr_is_circuit(data, size);
    EXPECT(is_circuit >= -1 && is_circuit <= 1 && (is_circuit >= 0) == (tp_multiaddr_valid(data, size) != 0));
    if (is_circuit < 0)
        return 0;
    EXPECT(size >= 1 && size <= TP_MULTIADDR_MAX);
    memcpy(joined, data, size);
    memcpy(joined + size, circuit, sizeof circuit);
    EXPECT(tp_multiaddr_is_circuit(joined, size + 2) == (size + 2 <= TP_MULTIADDR_MAX ? 1 : -1));
    return 0;
}
