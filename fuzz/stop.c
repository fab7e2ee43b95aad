/* StopMessage. */
#include "circuit_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check_circuit_message(tp_stop_get, tp_stop_put, data, size);
    return 0;
}
