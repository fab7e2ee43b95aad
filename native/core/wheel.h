/* A timing wheel: deadlines in milliseconds, resolution 64 ms, up to any distance. Intrusive, no allocation,
 * O(1) to arm and disarm. */
#ifndef TP_WHEEL_H
#define TP_WHEEL_H
#include <stdint.h>

enum { TP_WHEEL_SLOTS = 1024, TP_WHEEL_TICK_MS = 64 };

typedef struct tp_timer {
    struct tp_timer *next, *prev; /* NULL when not armed */
    uint64_t deadline_ms;
} tp_timer;

typedef struct {
    tp_timer slots[TP_WHEEL_SLOTS]; /* list heads */
    tp_timer due;                   /* head of those that tp_wheel_pop hands out */
    uint64_t tick;                  /* the last tick that was run */
    uint64_t armed;
} tp_wheel;

void tp_wheel_init(tp_wheel *w, uint64_t now_ms);
/* Arms or re-arms. A deadline that has passed fires at the next tick. */
void tp_wheel_arm(tp_wheel *w, tp_timer *t, uint64_t deadline_ms);
void tp_wheel_disarm(tp_wheel *w, tp_timer *t);
/* Takes one due timer off the wheel and returns it, NULL when none is due at now_ms. Call until NULL; timers
 * may be armed and disarmed in between. Never fires before the deadline, and at most one tick after it when
 * called often enough. */
tp_timer *tp_wheel_pop(tp_wheel *w, uint64_t now_ms);
#endif
