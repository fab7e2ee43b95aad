/* Both AEAD libraries against RFC 8439 and against each other. */
#include "aead.h"
#include "check.h"

static const tp_aead_kind kinds[] = {TP_AEAD_SODIUM, TP_AEAD_OPENSSL};
enum { KINDS = 2, BIG = 65519 };

static tp_aead *make(tp_aead_kind kind) {
    tp_aead *a = tp_aead_new(kind);
    CHECK(a != NULL && tp_aead_which(a) == kind);
    return a;
}

static void agrees_with_known_messages(void) {
    static const struct {
        const char *key;
        uint64_t nonce;
        const char *ad, *plain, *sealed;
    } vectors[] = {
#include "vectors/aead.h"
    };
    uint8_t key[32], ad[64], plain[512], sealed[512], out[512];
    for (int k = 0; k < KINDS; k++) {
        tp_aead *a = make(kinds[k]);
        tp_cipher c;
        for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
            CHECK(from_hex(vectors[i].key, key, sizeof key) == 32);
            tp_cipher_init(a, &c, key);
            size_t ad_n = from_hex(vectors[i].ad, ad, sizeof ad);
            size_t n = from_hex(vectors[i].plain, plain, sizeof plain);
            CHECK(from_hex(vectors[i].sealed, sealed, sizeof sealed) == n + 16);
            c.nonce = vectors[i].nonce;
            CHECK(tp_seal(a, &c, out, plain, n, ad, ad_n) == 0);
            CHECK(c.nonce == vectors[i].nonce + 1 && memcmp(out, sealed, n + 16) == 0);
            c.nonce = vectors[i].nonce;
            CHECK(tp_open(a, &c, out, n + 16, ad, ad_n) == 0);
            CHECK(c.nonce == vectors[i].nonce + 1 && memcmp(out, plain, n) == 0);
            tp_cipher_wipe(a, &c);
        }
        tp_aead_free(a);
    }
}

static void both_libraries_read_each_other(void) {
    static uint8_t plain[BIG], buf[BIG + 16];
    static const size_t sizes[] = {0, 1, 15, 16, 17, 63, 64, 65, 1024, 16384, 65518, BIG};
    uint8_t key[32] = {7};
    uint64_t seed = 1;
    tp_aead *a[KINDS] = {make(kinds[0]), make(kinds[1])};
    for (int from = 0; from < KINDS; from++) {
        tp_cipher seal, open;
        tp_cipher_init(a[from], &seal, key);
        tp_cipher_init(a[1 - from], &open, key);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t n = sizes[i];
            for (size_t j = 0; j < n; j++)
                plain[j] = (uint8_t)next_random(&seed);
            if (i % 2 == 0) {
                CHECK(tp_seal(a[from], &seal, buf, plain, n, NULL, 0) == 0);
            } else {
                memcpy(buf, plain, n);
                CHECK(tp_seal(a[from], &seal, buf, buf, n, NULL, 0) == 0);
            }
            CHECK(tp_open(a[1 - from], &open, buf, n + 16, NULL, 0) == 0);
            CHECK(memcmp(buf, plain, n) == 0);
        }
        tp_cipher_wipe(a[from], &seal);
        tp_cipher_wipe(a[1 - from], &open);
    }
    tp_aead_free(a[0]);
    tp_aead_free(a[1]);
}

/* Messages of more connections than there are contexts, in any order. */
static void interleaved_keys_stay_apart(void) {
    enum { CONNECTIONS = 200, MESSAGES = 6000 };
    uint64_t seed = 2;
    for (int k = 0; k < KINDS; k++) {
        tp_aead *mine = make(kinds[k]), *other = make(kinds[1 - k]);
        tp_cipher seal[CONNECTIONS], open[CONNECTIONS];
        for (int i = 0; i < CONNECTIONS; i++) {
            uint8_t key[32] = {(uint8_t)i, 9};
            tp_cipher_init(mine, &seal[i], key);
            tp_cipher_init(other, &open[i], key);
        }
        for (int i = 0; i < MESSAGES; i++) {
            int c = (int)(next_random(&seed) % CONNECTIONS);
            uint8_t buf[100 + 16], text[100];
            size_t n = (size_t)(next_random(&seed) % 101);
            memset(text, i, sizeof text);
            CHECK(tp_seal(mine, &seal[c], buf, text, n, NULL, 0) == 0);
            CHECK(tp_open(other, &open[c], buf, n + 16, NULL, 0) == 0);
            CHECK(memcmp(buf, text, n) == 0);
        }
        tp_aead_free(mine);
        tp_aead_free(other);
    }
}

static void a_changed_bit_is_refused_and_costs_no_nonce(void) {
    uint8_t key[32] = {3}, good[40 + 16], bad[40 + 16], text[40] = {5}, ad[3] = {1, 2, 3};
    for (int k = 0; k < KINDS; k++) {
        tp_aead *a = make(kinds[k]);
        tp_cipher seal, open;
        tp_cipher_init(a, &seal, key);
        tp_cipher_init(a, &open, key);
        CHECK(tp_seal(a, &seal, good, text, 40, ad, 3) == 0);
        for (size_t bit = 0; bit < sizeof good * 8; bit++) {
            memcpy(bad, good, sizeof good);
            bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
            CHECK(tp_open(a, &open, bad, sizeof bad, ad, 3) == -1 && open.nonce == 0);
        }
        for (size_t n = 0; n < sizeof good; n++) {
            memcpy(bad, good, sizeof good);
            CHECK(tp_open(a, &open, bad, n, ad, 3) == -1 && open.nonce == 0);
        }
        memcpy(bad, good, sizeof good);
        CHECK(tp_open(a, &open, bad, sizeof bad, ad, 2) == -1);
        memcpy(bad, good, sizeof good);
        CHECK(tp_open(a, &open, bad, sizeof bad, ad, 3) == 0 && open.nonce == 1);
        tp_aead_free(a);
    }
}

static void a_spent_nonce_ends_the_key(void) {
    uint8_t key[32] = {3}, buf[16 + 1];
    for (int k = 0; k < KINDS; k++) {
        tp_aead *a = make(kinds[k]);
        tp_cipher c;
        tp_cipher_init(a, &c, key);
        c.nonce = UINT64_MAX - 1;
        CHECK(tp_seal(a, &c, buf, buf, 1, NULL, 0) == 0);
        CHECK(tp_seal(a, &c, buf, buf, 1, NULL, 0) == -1);
        CHECK(tp_open(a, &c, buf, 17, NULL, 0) == -1);
        tp_aead_free(a);
    }
}

static void wiping_leaves_no_key(void) {
    static const tp_cipher nothing;
    uint8_t key[32] = {3}, again[32] = {4}, buf[17], first[17];
    for (int k = 0; k < KINDS; k++) {
        tp_aead *a = make(kinds[k]);
        tp_cipher c;
        tp_cipher_init(a, &c, key);
        CHECK(tp_seal(a, &c, first, key, 1, NULL, 0) == 0);
        tp_cipher_wipe(a, &c);
        CHECK(memcmp(&c, &nothing, sizeof c) == 0);
        tp_cipher_wipe(a, &c);
        tp_cipher_init(a, &c, again);
        CHECK(tp_seal(a, &c, buf, key, 1, NULL, 0) == 0 && memcmp(buf, first, 17) != 0);
        tp_aead_free(a);
    }
}

static void calibration_takes_one_of_them(void) {
    tp_aead *a = tp_aead_new(TP_AEAD_AUTO);
    CHECK(a != NULL && (tp_aead_which(a) == TP_AEAD_SODIUM || tp_aead_which(a) == TP_AEAD_OPENSSL));
    tp_aead_free(a);
    tp_aead_free(NULL);
}

int main(void) {
    RUN(agrees_with_known_messages);
    RUN(both_libraries_read_each_other);
    RUN(interleaved_keys_stay_apart);
    RUN(a_changed_bit_is_refused_and_costs_no_nonce);
    RUN(a_spent_nonce_ends_the_key);
    RUN(wiping_leaves_no_key);
    RUN(calibration_takes_one_of_them);
    return 0;
}
