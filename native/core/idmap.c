/* Owns the slots of id maps. An id of 0 marks a free slot. */
#include "idmap.h"

#include <stdlib.h>

enum { SMALLEST = 4 };

static uint32_t home(const tp_idmap *m, uint32_t id) {
    return (uint32_t)(id * 0x9e3779b97f4a7c15U >> 32) & (m->capacity - 1);
}

/* The slot of this id, or the free one where it would go. The map has a free slot. */
static uint32_t find(const tp_idmap *m, uint32_t id) {
    uint32_t i = home(m, id);
    while (m->slots[i].id != id && m->slots[i].id != 0)
        i = (i + 1) & (m->capacity - 1);
    return i;
}

void *tp_idmap_get(const tp_idmap *m, uint32_t id) {
    return m->count == 0 || id == 0 ? NULL : m->slots[find(m, id)].value;
}

static int resize(tp_idmap *m, uint32_t capacity) {
    tp_idmap bigger = {calloc(capacity, sizeof(tp_idmap_slot)), capacity, m->count};
    if (bigger.slots == NULL)
        return -1;
    for (uint32_t i = 0; i < m->capacity; i++)
        if (m->slots[i].id != 0)
            bigger.slots[find(&bigger, m->slots[i].id)] = m->slots[i];
    free(m->slots);
    *m = bigger;
    return 0;
}

int tp_idmap_put(tp_idmap *m, uint32_t id, void *value) {
    /* At most three quarters full. */
    if ((m->count + 1) > m->capacity / 4 * 3 && resize(m, m->capacity == 0 ? SMALLEST : 2 * m->capacity) != 0)
        return -1;
    m->slots[find(m, id)] = (tp_idmap_slot){id, value};
    m->count++;
    return 0;
}

/* Closes the gap at i: every entry behind it that would not be found any more moves forward. */
static void close_gap(tp_idmap *m, uint32_t i) {
    uint32_t mask = m->capacity - 1;
    for (uint32_t j = (i + 1) & mask; m->slots[j].id != 0; j = (j + 1) & mask) {
        uint32_t from_home = (j - home(m, m->slots[j].id)) & mask;
        if (from_home >= ((j - i) & mask)) {
            m->slots[i] = m->slots[j];
            i = j;
        }
    }
    m->slots[i] = (tp_idmap_slot){0, NULL};
}

void *tp_idmap_remove(tp_idmap *m, uint32_t id) {
    if (m->count == 0 || id == 0)
        return NULL;
    uint32_t i = find(m, id);
    if (m->slots[i].id == 0)
        return NULL;
    void *value = m->slots[i].value;
    close_gap(m, i);
    m->count--;
    if (m->count == 0)
        tp_idmap_free(m);
    else if (m->capacity > SMALLEST && m->count <= m->capacity / 8)
        (void)resize(m, m->capacity / 2); /* kept as it is when memory is short */
    return value;
}

void *tp_idmap_next(const tp_idmap *m, uint32_t *cursor) {
    while (*cursor < m->capacity) {
        const tp_idmap_slot *s = &m->slots[(*cursor)++];
        if (s->id != 0)
            return s->value;
    }
    return NULL;
}

void tp_idmap_free(tp_idmap *m) {
    free(m->slots);
    *m = (tp_idmap){NULL, 0, 0};
}
