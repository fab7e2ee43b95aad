/* Lines of multistream-select at every length and every cut. */
#include "check.h"
#include "multistream.h"

static void lines_of_every_length_come_back(void) {
    static char text[TP_MULTISTREAM_LINE_MAX + 1];
    static uint8_t out[TP_MULTISTREAM_LINE_MAX + 2];
    memset(text, 'x', sizeof text);
    for (size_t n = 1; n < TP_MULTISTREAM_LINE_MAX; n++) {
        const uint8_t *got;
        size_t got_n, whole = n + 1 + (n + 1 < 128 ? 1 : 2);
        CHECK(tp_multistream_put(out, whole - 1, text, n) == -1);
        CHECK(tp_multistream_put(out, whole, text, n) == (int)whole);
        uint8_t *copy = exact_copy(out, whole);
        CHECK(tp_multistream_get(copy, whole, &got, &got_n) == (int)whole);
        CHECK(got_n == n && got == copy + whole - 1 - n && memcmp(got, text, n) == 0);
        free(copy);
    }
    CHECK(tp_multistream_put(out, sizeof out, text, TP_MULTISTREAM_LINE_MAX) == -1);
}

static void every_cut_needs_more(void) {
    static const char *const lines[] = {"/multistream/1.0.0", "na", "/noise"};
    uint8_t out[200];
    char long_line[150];
    memset(long_line, 'y', sizeof long_line);
    for (size_t i = 0; i < 4; i++) {
        const char *text = i == 3 ? long_line : lines[i];
        int n = tp_multistream_put(out, sizeof out, text, i == 3 ? sizeof long_line : strlen(text));
        CHECK(n > 0);
        for (size_t cut = 0; cut < (size_t)n; cut++) {
            const uint8_t *got;
            size_t got_n;
            uint8_t *copy = exact_copy(out, cut);
            CHECK(tp_multistream_get(copy, cut, &got, &got_n) == 0);
            free(copy);
        }
    }
}

static void check_bytes(const char *digits, int expected) {
    uint8_t p[64];
    const uint8_t *text;
    size_t text_n, n = from_hex(digits, p, sizeof p);
    uint8_t *copy = exact_copy(p, n);
    CHECK(tp_multistream_get(copy, n, &text, &text_n) == expected);
    free(copy);
}

/* A length that can't become valid is refused before more is awaited. */
static void bad_lengths_and_ends_are_refused(void) {
    check_bytes("00", -1);
    check_bytes("010a", -1);
    check_bytes("8000", -1);
    check_bytes("8100", -1);
    check_bytes("8180", -1);
    check_bytes("ffff", -1);
    check_bytes("8108", -1);       /* 1,025 */
    check_bytes("83006e610a", -1); /* 3, written too long */
    check_bytes("8008", 0);        /* 1,024 */
    check_bytes("80", 0);
    check_bytes("036e6161", -1);
    check_bytes("036e610a", 4);
    check_bytes("036e610a0a", 4);
}

int main(void) {
    RUN(lines_of_every_length_come_back);
    RUN(every_cut_needs_more);
    RUN(bad_lengths_and_ends_are_refused);
    return 0;
}
