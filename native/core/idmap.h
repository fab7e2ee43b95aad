/* A hash table from stream id (uint32, not 0) to a pointer: open addressing, linear probing, backward-shift
 * deletion. An empty map owns no memory. */
#ifndef TP_IDMAP_H
#define TP_IDMAP_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t id;
    void *value;
} tp_idmap_slot;

typedef struct {
    tp_idmap_slot *slots;
    uint32_t capacity; /* 0 or a power of two */
    uint32_t count;
} tp_idmap;

void *tp_idmap_get(const tp_idmap *m, uint32_t id);
/* 0, or -1 when memory is short. The id must not be in it yet. */
int tp_idmap_put(tp_idmap *m, uint32_t id, void *value);
/* Returns what was there, NULL if nothing. Shrinks; frees all memory when it becomes empty. */
void *tp_idmap_remove(tp_idmap *m, uint32_t id);
/* Any entry at or behind *cursor (start with 0), NULL at the end; do not change the map meanwhile. */
void *tp_idmap_next(const tp_idmap *m, uint32_t *cursor);
void tp_idmap_free(tp_idmap *m);
#endif
