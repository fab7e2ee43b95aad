/* Public keys: the first two bytes give the length of the key, the rest is the signature of a fixed message.
 */
#include "key.h"
#include "target.h"

#include <sodium.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t message[] = "what every key here has signed";
    uint8_t id[TP_PEER_ID_MAX];
    if (size < 2 || sodium_init() < 0)
        return 0;
    size_t key_n = (size_t)data[0] << 8 | data[1], rest = size - 2;
    key_n = key_n < rest ? key_n : rest;
    /* Copies of exactly their size: a read beyond the key is not hidden by the signature. */
    uint8_t *key = malloc(key_n + 1), *signature = malloc(rest - key_n + 1);
    EXPECT(key != NULL && signature != NULL);
    memcpy(key + 1, data + 2, key_n);
    memcpy(signature + 1, data + 2 + key_n, rest - key_n);
    int result = tp_key_verify(key + 1, key_n, message, sizeof message - 1, signature + 1, rest - key_n);
    int id_n = tp_peer_id_of_key(key + 1, key_n, id);
    EXPECT(result <= 0 && result >= -2 && (id_n == -1 || tp_peer_id_valid(id, (size_t)id_n)));
    EXPECT(result == -1 || id_n > 0);
    if (result == 0)
        EXPECT(tp_key_verify(key + 1, key_n, message, sizeof message - 2, signature + 1, rest - key_n) == -2);
    free(key);
    free(signature);
    return 0;
}
