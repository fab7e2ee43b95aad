/* The timing wheel against a list of deadlines, with random operations and jumps of the clock. */
#include "check.h"
#include "wheel.h"

enum { TIMERS = 300 };

typedef struct {
    tp_wheel wheel;
    tp_timer timers[TIMERS];
    uint64_t deadlines[TIMERS];
    int armed[TIMERS];
    uint64_t armed_n;
    uint64_t last_run; /* when everything due was last taken */
} bench;

static void check_pop(bench *b, uint64_t now) {
    for (tp_timer *t; (t = tp_wheel_pop(&b->wheel, now)) != NULL;) {
        long i = t - b->timers;
        CHECK(i >= 0 && i < TIMERS && b->armed[i]);
        CHECK(b->deadlines[i] <= now && t->deadline_ms == b->deadlines[i] && t->next == NULL);
        b->armed[i] = 0;
        b->armed_n--;
    }
    CHECK(b->wheel.armed == b->armed_n);
    /* What was armed before the tick began in which now lies has fired if a whole tick has passed since its
     * deadline. */
    uint64_t tick_start = now - now % TP_WHEEL_TICK_MS;
    for (int i = 0; i < TIMERS; i++)
        CHECK(!b->armed[i] || b->deadlines[i] > tick_start || tick_start <= b->last_run);
    b->last_run = now;
}

static void arm(bench *b, int i, uint64_t deadline) {
    tp_wheel_arm(&b->wheel, &b->timers[i], deadline);
    b->armed_n += !b->armed[i];
    b->armed[i] = 1;
    b->deadlines[i] = deadline;
}

static void disarm(bench *b, int i) {
    tp_wheel_disarm(&b->wheel, &b->timers[i]);
    b->armed_n -= (uint64_t)b->armed[i];
    b->armed[i] = 0;
    CHECK(b->timers[i].next == NULL && b->timers[i].prev == NULL);
}

static void behaves_like_a_list_of_deadlines(void) {
    static bench b;
    static const uint64_t spans[] = {1, 64, 1000, 65536, 200000, 4000000};
    for (uint64_t seed = 1; seed <= 10; seed++) {
        uint64_t random = seed, now = next_random(&random) % 1000000;
        memset(&b, 0, sizeof b);
        tp_wheel_init(&b.wheel, now);
        b.last_run = now;
        for (int step = 0; step < 8000; step++) {
            int i = (int)(next_random(&random) % TIMERS);
            uint64_t span = spans[next_random(&random) % 6];
            switch (next_random(&random) % 8) {
            case 0:
                disarm(&b, i);
                break;
            case 1: /* the past, the present, or a little behind it */
                arm(&b, i, now - (now < 50 ? now : 50) + next_random(&random) % 100);
                break;
            case 2:
            case 3:
            case 4:
                arm(&b, i, now + next_random(&random) % span);
                break;
            default:
                now += next_random(&random) % (step % 50 == 0 ? span : 100);
                check_pop(&b, now);
            }
        }
        check_pop(&b, now + 5000000);
        CHECK(b.armed_n == 0);
    }
}

/* Called at each millisecond, a timer fires at its deadline or less than a tick after it. */
static void fires_within_a_tick(void) {
    static tp_wheel w;
    for (uint64_t deadline = 1000; deadline < 1000 + 3 * TP_WHEEL_TICK_MS; deadline++) {
        tp_timer t = {NULL, NULL, 0};
        uint64_t now = 900;
        tp_wheel_init(&w, now);
        tp_wheel_arm(&w, &t, deadline);
        while (tp_wheel_pop(&w, now) == NULL)
            CHECK(++now < 2000);
        CHECK(now >= deadline && now < deadline + TP_WHEEL_TICK_MS);
    }
}

/* A timer that is due may be disarmed or moved by the work that an earlier one does. */
static void due_timers_may_still_be_changed(void) {
    static tp_wheel w;
    tp_timer t[4] = {{NULL, NULL, 0}, {NULL, NULL, 0}, {NULL, NULL, 0}, {NULL, NULL, 0}};
    tp_wheel_init(&w, 0);
    for (int i = 0; i < 4; i++)
        tp_wheel_arm(&w, &t[i], 100);
    tp_timer *first = tp_wheel_pop(&w, 1000);
    CHECK(first == &t[0] && w.armed == 3);
    tp_wheel_disarm(&w, &t[1]);
    tp_wheel_arm(&w, &t[2], 100000);
    tp_wheel_arm(&w, first, 500); /* the past: at the next tick, behind what is due already */
    CHECK(tp_wheel_pop(&w, 1000) == &t[3] && w.armed == 2);
    tp_timer *again = tp_wheel_pop(&w, 1000);
    CHECK(again == first);
    CHECK(tp_wheel_pop(&w, 1000) == NULL && tp_wheel_pop(&w, 99999) == NULL &&
          tp_wheel_pop(&w, 100096) == &t[2]);
    tp_wheel_disarm(&w, &t[2]);
    CHECK(w.armed == 0);
}

static void any_distance_is_allowed(void) {
    static tp_wheel w;
    tp_timer far = {NULL, NULL, 0}, never = {NULL, NULL, 0};
    tp_wheel_init(&w, 7);
    tp_wheel_arm(&w, &far, 30ULL * 86400 * 1000);
    tp_wheel_arm(&w, &never, UINT64_MAX);
    CHECK(tp_wheel_pop(&w, 30ULL * 86400 * 1000 - 1) == NULL);
    CHECK(tp_wheel_pop(&w, 30ULL * 86400 * 1000) == &far);
    CHECK(tp_wheel_pop(&w, 300ULL * 86400 * 1000) == NULL && w.armed == 1);
    CHECK(tp_wheel_pop(&w, 5) == NULL); /* a clock that goes back is ignored */
}

int main(void) {
    RUN(behaves_like_a_list_of_deadlines);
    RUN(fires_within_a_tick);
    RUN(due_timers_may_still_be_changed);
    RUN(any_distance_is_allowed);
    return 0;
}
