/* Owns the slots of timing wheels. A timer stands in the slot of the tick at which it may fire: its deadline
 * rounded up. */
#include "wheel.h"

#include <stddef.h>

static uint64_t tick_of(uint64_t deadline_ms) {
    return deadline_ms / TP_WHEEL_TICK_MS + (deadline_ms % TP_WHEEL_TICK_MS != 0);
}

static void make_empty(tp_timer *head) {
    head->next = head->prev = head;
}

static void append(tp_timer *head, tp_timer *t) {
    t->next = head;
    t->prev = head->prev;
    head->prev->next = t;
    head->prev = t;
}

static void unlink_timer(tp_timer *t) {
    t->prev->next = t->next;
    t->next->prev = t->prev;
    t->next = t->prev = NULL;
}

void tp_wheel_init(tp_wheel *w, uint64_t now_ms) {
    for (int i = 0; i < TP_WHEEL_SLOTS; i++)
        make_empty(&w->slots[i]);
    make_empty(&w->due);
    w->tick = now_ms / TP_WHEEL_TICK_MS;
    w->armed = 0;
}

void tp_wheel_arm(tp_wheel *w, tp_timer *t, uint64_t deadline_ms) {
    tp_wheel_disarm(w, t);
    uint64_t tick = tick_of(deadline_ms);
    if (tick <= w->tick)
        tick = w->tick + 1;
    t->deadline_ms = deadline_ms;
    append(&w->slots[tick % TP_WHEEL_SLOTS], t);
    w->armed++;
}

void tp_wheel_disarm(tp_wheel *w, tp_timer *t) {
    if (t->next == NULL)
        return;
    unlink_timer(t);
    w->armed--;
}

/* Moves what is due at this tick to the due list; timers of later turns of the wheel stay. */
static void run_slot(tp_wheel *w, uint64_t tick) {
    tp_timer *head = &w->slots[tick % TP_WHEEL_SLOTS];
    for (tp_timer *t = head->next, *next; t != head; t = next) {
        next = t->next;
        if (tick_of(t->deadline_ms) <= tick) {
            unlink_timer(t);
            append(&w->due, t);
        }
    }
}

tp_timer *tp_wheel_pop(tp_wheel *w, uint64_t now_ms) {
    uint64_t now = now_ms / TP_WHEEL_TICK_MS;
    if (w->armed == 0) {
        w->tick = now > w->tick ? now : w->tick;
        return NULL;
    }
    if (w->due.next == &w->due && now > w->tick) {
        if (now - w->tick > TP_WHEEL_SLOTS)
            w->tick = now - TP_WHEEL_SLOTS; /* one turn meets every slot */
        while (w->due.next == &w->due && w->tick < now)
            run_slot(w, ++w->tick);
    }
    tp_timer *t = w->due.next;
    if (t == &w->due)
        return NULL;
    tp_wheel_disarm(w, t);
    return t;
}
