/* Control streams: multistream-select, identify, ping, HOP and STOP. Outgoing ones propose their protocol and
 * send their message in one flight, as go-libp2p does for protocols that it knows. */
#include "identify_pb.h"
#include "multistream.h"
#include "stream.h"
#include "varint.h"

#include <string.h>

#define HEADER "/multistream/1.0.0"
#define HOP "/libp2p/circuit/relay/0.2.0/hop"
#define STOP "/libp2p/circuit/relay/0.2.0/stop"
#define IDENTIFY "/ipfs/id/1.0.0"
#define PING "/ipfs/ping/1.0.0"

enum { MESSAGE_MAX = 16384 };
/* Steps of a stream that we opened, and of one that the relay opened. */
enum { OUT_HEADER, OUT_PROTOCOL, OUT_ANSWER, OUT_DONE, IN_HEADER, IN_PROTOCOL, IN_STOP, IN_DONE };

static size_t put_line(uint8_t *p, const char *text) {
    return (size_t)tp_multistream_put(p, 128, text, strlen(text));
}

static size_t put_message(uint8_t *p, const uint8_t *message, int n) {
    size_t head;

    if (n < 0)
        die("a message does not fit");
    head = tp_varint_put(p, (uint64_t)n);
    memcpy(p + head, message, (size_t)n);
    return head + (size_t)n;
}

static void send_line(stream *s, const char *text, int fin) {
    uint8_t line[128];

    stream_queue(s, line, put_line(line, text), fin);
}

/* ---- what has come in ---- */

/* 1 and the next line, without its newline; 0: not whole yet. */
static int next_line(stream *s, size_t *used, char line[TP_MULTISTREAM_LINE_MAX + 1]) {
    const uint8_t *text;
    size_t n;
    int took;

    if (tp_bytequeue_size(&s->in) == *used)
        return 0;
    took =
        tp_multistream_get(tp_bytequeue_head(&s->in) + *used, tp_bytequeue_size(&s->in) - *used, &text, &n);
    if (took < 0)
        die("not a multistream line");
    if (took == 0)
        return 0;
    memcpy(line, text, n);
    line[n] = 0;
    *used += (size_t)took;
    return 1;
}

/* 1 and the next length-prefixed message; 0: not whole yet. */
static int next_message(stream *s, size_t *used, tp_slice *m) {
    const uint8_t *p;
    size_t n = tp_bytequeue_size(&s->in) - *used;
    uint64_t size;
    int head;

    if (n == 0)
        return 0;
    p = tp_bytequeue_head(&s->in) + *used;
    head = tp_varint_get(p, n, &size);
    if (head < 0 || (head > 0 && size > MESSAGE_MAX))
        die("a message from the relay is too long");
    if (head == 0 || n - (size_t)head < size)
        return 0;
    *m = (tp_slice){p + head, (size_t)size};
    *used += (size_t)head + (size_t)size;
    return 1;
}

/* Hands the rest of the negotiation's bytes to whoever has the stream now. */
static void hand_over(stream *s, size_t used) {
    tp_bytequeue rest = s->in;

    if (!s->id) /* freed by its new owner */
        return;
    s->in = (tp_bytequeue){0};
    if (tp_bytequeue_size(&rest) > used)
        s->on_data(s, tp_bytequeue_head(&rest) + used, tp_bytequeue_size(&rest) - used);
    tp_bytequeue_free(&rest);
}

/* ---- streams that the relay opens ---- */

static void echo(stream *s, const uint8_t *p, size_t n) {
    stream_queue(s, p, n, 0);
}

static void ignore(stream *s, const uint8_t *p, size_t n) {
    (void)s, (void)p, (void)n;
}

static void answer_identify(stream *s) {
    uint8_t bytes[1024], message[512];
    tp_identify m = {.key_pb = {s->conn->self->key_pb, TP_ED25519_PB}};
    static const char *protocols[] = {IDENTIFY, PING, STOP};
    static const char agent[] = "load";

    m.agent = (tp_slice){(const uint8_t *)agent, sizeof agent - 1};
    for (int i = 0; i < 3; i++)
        m.protocols[m.protocols_n++] = (tp_slice){(const uint8_t *)protocols[i], strlen(protocols[i])};
    stream_queue(s, bytes, put_message(bytes, message, tp_identify_put(message, sizeof message, &m)), 1);
    if (s->conn->on->identified)
        s->conn->on->identified(s->conn);
}

static void answer_stop(stream *s, tp_slice message) {
    tp_circuit_msg got, ok = {.type = TP_STOP_STATUS, .status = TP_OK};
    uint8_t bytes[64], body[32];

    if (tp_stop_get(message.p, message.n, &got) || got.type != TP_STOP_CONNECT || !got.has_peer)
        die("a STOP message from the relay is malformed");
    stream_queue(s, bytes, put_message(bytes, body, tp_stop_put(body, sizeof body, &ok)), 0);
    s->on_data = ignore;
    if (!s->conn->on->incoming)
        die("an unexpected circuit");
    s->conn->on->incoming(s);
}

static int accept_protocol(stream *s, const char *line) {
    if (strcmp(line, STOP) && strcmp(line, PING) && strcmp(line, IDENTIFY)) {
        send_line(s, "na", 0);
        return IN_PROTOCOL;
    }
    send_line(s, line, 0);
    if (!strcmp(line, STOP))
        return IN_STOP;
    if (!strcmp(line, IDENTIFY))
        answer_identify(s);
    s->on_data = strcmp(line, PING) ? ignore : echo;
    return IN_DONE;
}

static void incoming(stream *s, const uint8_t *p, size_t n) {
    char line[TP_MULTISTREAM_LINE_MAX + 1];
    size_t used = 0;
    tp_slice m;

    if (tp_bytequeue_push(&s->in, p, n))
        die("out of memory");
    for (;;) {
        if (s->step == IN_HEADER && next_line(s, &used, line)) {
            if (strcmp(line, HEADER))
                die("the relay opened a stream with %s", line);
            send_line(s, HEADER, 0);
            s->step = IN_PROTOCOL;
        } else if (s->step == IN_PROTOCOL && next_line(s, &used, line)) {
            s->step = accept_protocol(s, line);
        } else if (s->step == IN_STOP && next_message(s, &used, &m)) {
            s->step = IN_DONE;
            answer_stop(s, m);
        } else {
            break;
        }
    }
    if (s->step == IN_DONE)
        hand_over(s, used);
    else if (used)
        tp_bytequeue_drop(&s->in, used);
}

static void incoming_end(stream *s, int reset) {
    if (!reset && !s->fin_sent)
        stream_queue(s, NULL, 0, 1);
}

void control_accept(stream *s) {
    s->step = IN_HEADER;
    s->on_data = incoming;
    s->on_end = incoming_end;
}

/* ---- streams that we open ---- */

static int answer_status(stream *s, tp_slice m) {
    tp_circuit_msg got;

    if (!strcmp(s->want, IDENTIFY))
        return TP_OK;
    return tp_hop_get(m.p, m.n, &got) || got.type != TP_HOP_STATUS ? -1 : got.status;
}

static void outgoing(stream *s, const uint8_t *p, size_t n) {
    char line[TP_MULTISTREAM_LINE_MAX + 1];
    size_t used = 0;
    tp_slice m;

    if (tp_bytequeue_push(&s->in, p, n))
        die("out of memory");
    for (;;) {
        if ((s->step == OUT_HEADER || s->step == OUT_PROTOCOL) && next_line(s, &used, line)) {
            if (strcmp(line, s->step == OUT_HEADER ? HEADER : s->want))
                die("the relay answers %s with %s", s->want, line);
            s->step++;
        } else if (s->step == OUT_ANSWER && next_message(s, &used, &m)) {
            s->step = OUT_DONE;
            s->on_data = ignore;
            s->on_answer(s, answer_status(s, m));
        } else {
            break;
        }
    }
    if (s->step == OUT_DONE)
        hand_over(s, used);
    else if (used)
        tp_bytequeue_drop(&s->in, used);
}

static void outgoing_end(stream *s, int reset) {
    if (s->step != OUT_DONE) {
        s->step = OUT_DONE;
        s->on_answer(s, -1);
    }
    if (!reset && !s->fin_sent)
        stream_queue(s, NULL, 0, 1);
}

static stream *propose(conn *c, const char *protocol, const uint8_t *message, int message_n,
                       void (*on_answer)(stream *s, int status), void *user) {
    stream *s = stream_open(c);
    uint8_t bytes[512];
    size_t n = put_line(bytes, HEADER);

    n += put_line(bytes + n, protocol);
    if (message_n)
        n += put_message(bytes + n, message, message_n);
    s->want = protocol;
    s->step = OUT_HEADER;
    s->on_data = outgoing;
    s->on_end = outgoing_end;
    s->on_answer = on_answer;
    s->user = user;
    stream_queue(s, bytes, n, 0);
    return s;
}

stream *control_reserve(conn *c, void (*on_answer)(stream *s, int status), void *user) {
    tp_circuit_msg m = {.type = TP_HOP_RESERVE, .status = -1};
    uint8_t body[64];

    return propose(c, HOP, body, tp_hop_put(body, sizeof body, &m), on_answer, user);
}

stream *control_connect(conn *c, const identity *target, void (*on_answer)(stream *s, int status),
                        void *user) {
    tp_circuit_msg m = {.type = TP_HOP_CONNECT,
                        .status = -1,
                        .has_peer = 1,
                        .peer_id = {target->peer_id, (size_t)target->peer_id_n}};
    uint8_t body[128];

    return propose(c, HOP, body, tp_hop_put(body, sizeof body, &m), on_answer, user);
}

stream *control_identify(conn *c, void (*on_answer)(stream *s, int status), void *user) {
    return propose(c, IDENTIFY, NULL, 0, on_answer, user);
}
