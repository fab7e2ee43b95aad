/* Bulk data over a path, one direction: frames of one size as fast as windows and sockets take them, checked
 * where they arrive. Every 1,024 bytes of a flow begin with a number that the receiver knows. */
#ifndef LOAD_FLOW_H
#define LOAD_FLOW_H
#include "ends.h"

typedef struct {
    end *from, *to;
    uint64_t salt, sent, received;
    int finished;
} flow;

typedef struct {
    flow *all;
    int n;
    size_t frame;   /* bytes of payload in each */
    uint8_t *bytes; /* FRAME_HEAD + frame: what is sealed next */
} flows;

/* Bulk on each of these paths from a to b, and back when both_ways. */
flows flows_start(path *paths, int n, size_t frame, int both_ways);
/* Fills every connection that the kernel has emptied; 1 when some could take more at once. */
int flows_fill(flows *f);
uint64_t flows_received(const flows *f);
/* Sends FIN on all, receives the rest and compares the counts; ends the program on a difference. */
void flows_finish(flows *f);
#endif
