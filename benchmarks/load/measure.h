/* What a run measures, from the command line, and one function for each measurement. Each prints one line of
 * JSON. */
#ifndef LOAD_MEASURE_H
#define LOAD_MEASURE_H
#include <stdint.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct {
    pid_t relay;   /* the process whose CPU time and memory count */
    int reference; /* the relay is the C reference */
    int pairs, circuits, both_ways;
    size_t frame;  /* bytes of payload in a frame, or of a ping-pong message */
    size_t beside; /* rtt: bulk frames of this size on a second circuit, 0: none */
    double warmup, seconds;
    int count, depth; /* how many; how many at once */
    int sources;      /* addresses 127.0.0.1 and up to dial from */
    int identify;
    int spin; /* poll instead of sleeping */
} plan;

void measure_bulk(const plan *p);
void measure_rtt(const plan *p);
void measure_circuits(const plan *p);
void measure_conns(const plan *p);
void measure_idle(const plan *p);

/* The source address (host order) of connection i. */
uint32_t source_address(const plan *p, int i);
#endif
