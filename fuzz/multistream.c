/* A run of multistream lines: each is written back to the same bytes, and no prefix of it is taken for a
 * line. */
#include "multistream.h"
#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (size_t at = 0;;) {
        const uint8_t *text;
        uint8_t out[TP_MULTISTREAM_LINE_MAX + 2];
        size_t text_n;
        int used = tp_multistream_get(data + at, size - at, &text, &text_n);
        EXPECT(used >= -1 && used <= (int)sizeof out);
        if (used <= 0)
            return 0;
        EXPECT(is_within(text, text_n, data + at, (size_t)used) && text_n >= 1);
        EXPECT(tp_multistream_put(out, sizeof out, (const char *)text, text_n) == used);
        EXPECT(memcmp(out, data + at, (size_t)used) == 0);
        for (size_t cut = 0; cut < (size_t)used; cut++)
            EXPECT(tp_multistream_get(data + at, cut, &text, &text_n) == 0);
        at += (size_t)used;
    }
}
