/* The id map against a plain array, with random operations and with ids that collide. */
#include "check.h"
#include "idmap.h"

enum { IDS = 2000 };

typedef struct {
    uint32_t ids[IDS];
    void *values[IDS];
    int values_at[IDS];
    uint32_t count;
} model;

static void check_all(const tp_idmap *m, const model *expected) {
    uint32_t cursor = 0, seen = 0;
    static int met[IDS];
    memset(met, 0, sizeof met);
    for (int *at; (at = tp_idmap_next(m, &cursor)) != NULL; seen++)
        met[at - expected->values_at]++;
    CHECK(seen == expected->count && m->count == expected->count);
    for (int i = 0; i < IDS; i++) {
        CHECK(tp_idmap_get(m, expected->ids[i]) == expected->values[i]);
        CHECK(met[i] == (expected->values[i] != NULL));
    }
    CHECK((m->count == 0) == (m->slots == NULL));
    CHECK(m->capacity == 0 || ((m->capacity & (m->capacity - 1)) == 0 && m->count < m->capacity));
}

static void run(model *x, uint64_t seed) {
    tp_idmap m = {NULL, 0, 0};
    for (int step = 0; step < 6000; step++) {
        int i = (int)(next_random(&seed) % IDS);
        int puts = next_random(&seed) % 1000 < (step / 1500 % 2 == 0 ? 800U : 250U);
        if (puts && x->values[i] == NULL) {
            x->values[i] = &x->values_at[i];
            x->count++;
            CHECK(tp_idmap_put(&m, x->ids[i], x->values[i]) == 0);
        } else if (!puts) {
            void *was = x->values[i];
            CHECK(tp_idmap_remove(&m, x->ids[i]) == was);
            x->count -= was != NULL;
            x->values[i] = NULL;
        }
        if (step % 100 == 0)
            check_all(&m, x);
    }
    for (int i = 0; i < IDS; i++) {
        CHECK(tp_idmap_remove(&m, x->ids[i]) == x->values[i]);
        x->count -= x->values[i] != NULL;
        x->values[i] = NULL;
    }
    check_all(&m, x);
    CHECK(m.capacity == 0);
}

static void behaves_like_an_array(void) {
    static model x;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        memset(&x, 0, sizeof x);
        for (uint32_t i = 0; i < IDS; i++)
            x.ids[i] = seed == 1   ? 2 * i + 1              /* as a dialer numbers its streams */
                       : seed == 2 ? 2 * i + 2              /* a listener */
                       : seed == 3 ? UINT32_MAX - i         /* the last ones */
                                   : (i + 1) * 2654435769U; /* scattered */
        run(&x, seed);
    }
}

/* Many entries with the same first slot, removed in any order. */
static void colliding_ids_are_all_found(void) {
    static model x;
    uint32_t id = 1, found = 0;
    memset(&x, 0, sizeof x);
    for (; found < IDS; id++)
        if (((id * 0x9e3779b97f4a7c15U >> 32) & 0x3ff) >=
            0x3fe) /* at the end of a table: probing wraps around */
            x.ids[found++] = id;
    run(&x, 77);
}

static void nothing_is_found_in_an_empty_map(void) {
    tp_idmap m = {NULL, 0, 0};
    uint32_t cursor = 0;
    CHECK(tp_idmap_get(&m, 1) == NULL && tp_idmap_get(&m, 0) == NULL && tp_idmap_remove(&m, 1) == NULL);
    CHECK(tp_idmap_next(&m, &cursor) == NULL);
    CHECK(tp_idmap_put(&m, 5, &m) == 0 && tp_idmap_get(&m, 0) == NULL && tp_idmap_remove(&m, 0) == NULL);
    tp_idmap_free(&m);
    CHECK(m.slots == NULL && m.capacity == 0 && m.count == 0);
}

int main(void) {
    RUN(behaves_like_an_array);
    RUN(colliding_ids_are_all_found);
    RUN(nothing_is_found_in_an_empty_map);
    return 0;
}
