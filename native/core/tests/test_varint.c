/* Varints: every boundary, every cut, every form that must be refused; and the headers of yamux frames. */
#include "check.h"
#include "varint.h"
#include "yamux.h"

static void numbers_come_back_in_their_shortest_form(void) {
    for (int shift = 0; shift < 64; shift++) {
        for (int delta = -2; delta <= 2; delta++) {
            uint64_t value = ((uint64_t)1 << shift) + (uint64_t)delta, back = 0;
            uint8_t p[10];
            size_t n = tp_varint_put(p, value);
            CHECK(n == tp_varint_size(value) && n <= sizeof p);
            CHECK(n == 1 || p[n - 1] != 0);
            CHECK(tp_varint_get_pb(p, n, &back) == (int)n && back == value);
            back = 0;
            if (n <= TP_VARINT_MAX)
                CHECK(tp_varint_get(p, n, &back) == (int)n && back == value);
            else
                CHECK(tp_varint_get(p, n, &back) == -1);
            for (size_t cut = 0; cut < n; cut++) {
                uint8_t *copy = exact_copy(p, cut);
                CHECK(tp_varint_get_pb(copy, cut, &back) == 0);
                CHECK(tp_varint_get(copy, cut, &back) == (cut < TP_VARINT_MAX ? 0 : -1));
                free(copy);
            }
        }
    }
}

static void what_follows_is_left_alone(void) {
    uint64_t value;
    CHECK(tp_varint_get((const uint8_t *)"\x81\x01\xff", 3, &value) == 2 && value == 129);
    CHECK(tp_varint_get((const uint8_t *)"\x00\xff", 2, &value) == 1 && value == 0);
}

static void longer_forms_are_for_protobuf_alone(void) {
    uint64_t value = 7;
    CHECK(tp_varint_get((const uint8_t *)"\x80\x00", 2, &value) == -1);
    CHECK(tp_varint_get((const uint8_t *)"\xff\x80\x00", 3, &value) == -1);
    CHECK(tp_varint_get_pb((const uint8_t *)"\x80\x00", 2, &value) == 2 && value == 0);
    CHECK(tp_varint_get_pb((const uint8_t *)"\x81\x80\x80\x80\x80\x80\x80\x80\x80\x00", 10, &value) == 10 &&
          value == 1);
    CHECK(tp_varint_get_pb((const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, &value) == 10);
    CHECK(value == UINT64_MAX);
    CHECK(tp_varint_get_pb((const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, &value) == -1);
    CHECK(tp_varint_get_pb((const uint8_t *)"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", 10, &value) == -1);
}

static void yamux_headers_come_back(void) {
    static const uint8_t bytes[TP_YAMUX_HEADER] = {0, 1, 0, 9, 0x80, 1, 2, 0xfd, 0xff, 5, 6, 7};
    uint8_t p[TP_YAMUX_HEADER];
    tp_yamux_header h;
    tp_yamux_get(bytes, &h);
    CHECK(h.version == 0 && h.type == TP_YAMUX_WINDOW_UPDATE && h.flags == (TP_YAMUX_SYN | TP_YAMUX_RST));
    CHECK(h.stream == 0x800102fd && h.length == 0xff050607);
    tp_yamux_put(p, h.type, h.flags, h.stream, h.length);
    CHECK(memcmp(p, bytes, sizeof p) == 0);
}

int main(void) {
    RUN(numbers_come_back_in_their_shortest_form);
    RUN(what_follows_is_left_alone);
    RUN(longer_forms_are_for_protobuf_alone);
    RUN(yamux_headers_come_back);
    return 0;
}
