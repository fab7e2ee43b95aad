/* The two ends of a path through the relay under test: a circuit between two of our peers, or a pair of
 * sockets of the C reference. Measurements see no difference. */
#ifndef LOAD_ENDS_H
#define LOAD_ENDS_H
#include "stream.h"

typedef struct end {
    conn *conn;
    stream *stream; /* NULL at the reference */
    void (*on_data)(struct end *e, const uint8_t *p, size_t n);
    void (*on_fin)(struct end *e);
    void *user;
} end;

typedef struct {
    end a, b; /* the dialer's, the listener's */
} path;

/* Room for a yamux header that a frame handed to end_seal must leave in front of its bytes. */
enum { FRAME_HEAD = TP_YAMUX_HEADER };

/* Opens `paths` paths over `pairs` pairs of connections, path i on pair i mod pairs; returns when all are
 * open. Any connection that is lost from here on ends the program. */
path *paths_open(int pairs, int paths, int reference);
/* Bytes that may be sent now. */
size_t end_room(const end *e);
/* Seals frame[FRAME_HEAD..FRAME_HEAD + n) as one frame; conn_flush sends. */
void end_seal(end *e, uint8_t *frame, size_t n);
/* Closes the sending half of a circuit. */
void end_fin(end *e);
#endif
