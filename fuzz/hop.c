/* HopMessage. */
#include "circuit_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check_circuit_message(tp_hop_get, tp_hop_put, data, size);
    return 0;
}
