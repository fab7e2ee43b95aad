/* A handshake in which one message is the input: the first byte chooses which of the three and by which
 * cipher library. The keys are those of the test vectors, so the seeds are real messages; any other must
 * leave the handshake dead, or, in the first message, which carries no authentication, fail at the third. */
#include "noise.h"
#include "target.h"

#include <sodium.h>

static const struct {
    const char *secrets[4], *payloads[3], *messages[3], *hash, *transport[2];
} vectors[] = {
#include "tests/vectors/noise.h"
};

static void secret_of(int i, uint8_t out[32]) {
    size_t n = 0;
    EXPECT(sodium_hex2bin(out, 32, vectors[0].secrets[i], 64, NULL, &n, NULL) == 0 && n == 32);
}

/* The side with secrets i and i + 1. */
static void start(tp_noise *x, tp_aead *aead, int initiator, int i) {
    uint8_t secret[32], public_key[32];
    secret_of(i, secret);
    EXPECT(crypto_scalarmult_base(public_key, secret) == 0);
    tp_noise_init(x, aead, initiator, public_key, secret);
    secret_of(i + 1, secret);
    tp_noise_fix_ephemeral(x, secret);
}

/* Passes one honest message; is it accepted? */
static int pass(tp_noise *from, tp_noise *to) {
    uint8_t msg[128], *payload;
    size_t payload_n;
    int n = tp_noise_write(from, NULL, 0, msg, sizeof msg);
    return n > 0 && tp_noise_read(to, msg, (size_t)n, &payload, &payload_n) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static tp_aead *aeads[2];
    tp_noise a, b;
    uint8_t *payload, expected[128];
    size_t payload_n, expected_n;
    if (size == 0 || size > TP_NOISE_MAX)
        return 0;
    if (aeads[0] == NULL) {
        aeads[0] = tp_aead_new(TP_AEAD_SODIUM);
        aeads[1] = tp_aead_new(TP_AEAD_OPENSSL);
        EXPECT(aeads[0] != NULL && aeads[1] != NULL);
    }
    int step = data[0] % 3;
    tp_aead *aead = aeads[data[0] / 3 % 2];
    size_t n = size - 1;
    uint8_t *msg = malloc(n + 1);
    EXPECT(msg != NULL);
    memcpy(msg + 1, data + 1, n);
    start(&a, aead, 1, 0);
    start(&b, aead, 0, 2);
    for (int i = 0; i < step; i++)
        EXPECT(i % 2 == 0 ? pass(&a, &b) : pass(&b, &a));
    tp_noise *to = step == 1 ? &a : &b, *from = step == 1 ? &b : &a;
    EXPECT(tp_noise_write(from, NULL, 0, expected, sizeof expected) > 0);
    EXPECT(sodium_hex2bin(expected, sizeof expected, vectors[0].messages[step],
                          strlen(vectors[0].messages[step]), NULL, &expected_n, NULL) == 0);
    int honest = n == expected_n && memcmp(msg + 1, expected, n) == 0;
    int accepted = tp_noise_read(to, msg + 1, n, &payload, &payload_n) == 0;
    if (accepted)
        EXPECT(is_within(payload, payload_n, msg + 1, n));
    if (step == 0) {
        EXPECT(accepted == (n >= 32));
        EXPECT((accepted && pass(&b, &a)) == honest);
    } else {
        EXPECT(accepted == honest && tp_noise_done(to) == (honest && step == 2));
    }
    tp_noise_wipe(&a);
    tp_noise_wipe(&b);
    free(msg);
    return 0;
}
