/* The byte queue against a naive one, with random operations. */
#include "bytequeue.h"
#include "check.h"

enum { MODEL = 1 << 20 };

static void behaves_like_a_naive_queue(void) {
    static uint8_t model[MODEL], chunk[5000];
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t random = seed;
        size_t n = 0, largest = seed % 2 == 0 ? 40 : sizeof chunk;
        tp_bytequeue q = {NULL, 0, 0, 0};
        for (int step = 0; step < 2000; step++) {
            size_t k = (size_t)(next_random(&random) % (largest + 1));
            int pushes = next_random(&random) % 1000 < (step / 500 % 2 == 0 ? 650U : 350U);
            if (pushes && n + k <= MODEL) {
                for (size_t i = 0; i < k; i++)
                    chunk[i] = (uint8_t)next_random(&random);
                CHECK(tp_bytequeue_push(&q, chunk, k) == 0);
                memcpy(model + n, chunk, k);
                n += k;
            } else {
                k = k < n ? k : n;
                tp_bytequeue_drop(&q, k);
                memmove(model, model + k, n - k);
                n -= k;
            }
            CHECK(tp_bytequeue_size(&q) == n);
            CHECK(n == 0 ? q.base == NULL : memcmp(tp_bytequeue_head(&q), model, n) == 0);
            CHECK(q.capacity <= (n < 8 ? 64 : n * 8 + 2 * sizeof chunk));
        }
        tp_bytequeue_free(&q);
        CHECK(q.base == NULL && q.capacity == 0);
    }
}

static void an_empty_queue_owns_nothing(void) {
    tp_bytequeue q = {NULL, 0, 0, 0};
    CHECK(tp_bytequeue_push(&q, NULL, 0) == 0 && q.base == NULL);
    CHECK(tp_bytequeue_push(&q, (const uint8_t *)"abc", 3) == 0);
    tp_bytequeue_drop(&q, 3);
    CHECK(q.base == NULL && tp_bytequeue_size(&q) == 0);
    tp_bytequeue_drop(&q, 0);
    tp_bytequeue_free(&q);
}

static void memory_follows_the_size_down(void) {
    static uint8_t big[1 << 18];
    tp_bytequeue q = {NULL, 0, 0, 0};
    CHECK(tp_bytequeue_push(&q, big, sizeof big) == 0);
    CHECK(q.capacity == sizeof big); /* one push takes what it needs */
    tp_bytequeue_drop(&q, sizeof big - 100);
    CHECK(tp_bytequeue_size(&q) == 100 && q.capacity <= 200);
    tp_bytequeue_free(&q);
}

/* A push of a size that cannot be is refused and changes nothing. */
static void memory_that_is_not_there_changes_nothing(void) {
    tp_bytequeue q = {NULL, 0, 0, 0};
    CHECK(tp_bytequeue_push(&q, (const uint8_t *)"abc", 3) == 0);
    CHECK(tp_bytequeue_push(&q, (const uint8_t *)"abc", SIZE_MAX / 2) == -1);
    CHECK(tp_bytequeue_size(&q) == 3 && memcmp(tp_bytequeue_head(&q), "abc", 3) == 0);
    tp_bytequeue_free(&q);
}

int main(void) {
    RUN(behaves_like_a_naive_queue);
    RUN(an_empty_queue_owns_nothing);
    RUN(memory_follows_the_size_down);
    RUN(memory_that_is_not_there_changes_nothing);
    return 0;
}
