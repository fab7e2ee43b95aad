/* The C reference: the least work a relay that terminates Noise on both sides can do.
 *
 * One thread, epoll, OpenSSL's ChaCha20-Poly1305. A read of at most 256 KiB, open and seal of every whole
 * frame in place, one send per read. Frames are Noise's: two bytes of length, ciphertext, tag. Keys are
 * fixed: there is no handshake, no muxer, no limit and no accounting. Sockets are paired in the order in
 * which they connect.
 *
 * `relay serve` listens on 127.0.0.1, prints "port N", relays until its standard input closes.
 *
 * `relay serve timed` does the same; for each line on its standard input it prints how long its events took
 * on the wall since the last one: a read, its frames, a send.
 *
 * `relay aead FRAME MIB` opens and seals MIB of FRAME-byte plaintexts in memory, prints the CPU nanoseconds.
 *
 * `relay arithmetic N` does N times what a Noise XX responder cannot do without (an ephemeral key, three
 * X25519, the check of an Ed25519 signature, by libsodium), prints the CPU nanoseconds.
 *
 * `relay replay FILE KEY` does the work of `serve` on the recorded bytes of FILE sealed under KEY (64 hex
 * digits), without sockets; what it would have sent is discarded; prints frames and plaintext bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { READ_MAX = 256 * 1024, FRAME_MAX = 2 + 65535, TAG = 16, PLAIN_MAX = 65519, EVENTS = 64 };

static void die(const char *what) {
    fprintf(stderr, "reference: %s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(1);
}

/* ---- the cipher ---- */

typedef struct {
    EVP_CIPHER_CTX *ctx;
    uint64_t nonce;
} cipher;

static void cipher_init(cipher *c, const uint8_t key[32], int seals) {
    c->nonce = 0;
    c->ctx = EVP_CIPHER_CTX_new();
    if (!c->ctx || EVP_CipherInit_ex(c->ctx, EVP_chacha20_poly1305(), NULL, key, NULL, seals) != 1)
        die("cipher");
}

static void set_nonce(cipher *c) {
    uint8_t iv[12] = {0};
    uint64_t n = c->nonce++;

    for (int i = 0; i < 8; i++)
        iv[4 + i] = (uint8_t)(n >> 8 * i);
    if (EVP_CipherInit_ex(c->ctx, NULL, NULL, NULL, iv, -1) != 1)
        die("nonce");
}

/* Both work in place on n bytes of plaintext with the tag behind them. */
static int open_frame(cipher *c, uint8_t *p, int n) {
    int done;

    set_nonce(c);
    return EVP_CIPHER_CTX_ctrl(c->ctx, EVP_CTRL_AEAD_SET_TAG, TAG, p + n) == 1 &&
           EVP_DecryptUpdate(c->ctx, p, &done, p, n) == 1 &&
           EVP_DecryptFinal_ex(c->ctx, p + done, &done) == 1;
}

static int seal_frame(cipher *c, uint8_t *p, int n) {
    int done;

    set_nonce(c);
    return EVP_EncryptUpdate(c->ctx, p, &done, p, n) == 1 &&
           EVP_EncryptFinal_ex(c->ctx, p + done, &done) == 1 &&
           EVP_CIPHER_CTX_ctrl(c->ctx, EVP_CTRL_AEAD_GET_TAG, TAG, p + n) == 1;
}

/* The keys of side 0 or 1 of every pair: what the client seals under (up) and what it opens with (down). */
static void fixed_key(uint8_t key[32], int side, int down) {
    memset(key, 0x10 + 2 * side + down, 32);
}

/* ---- one direction of a pair ---- */

typedef struct {
    cipher in, out;
    int from, to;
    size_t sent, sealed,
        filled; /* buffer: sent ≤ sealed (whole frames, sealed anew) ≤ filled (as received) */
    uint64_t frames, bytes;
    uint8_t buffer[READ_MAX + FRAME_MAX];
} direction;

/* Opens and seals every whole frame that has come in. 0, or -1 when one is forged. */
static int reseal(direction *d) {
    while (d->filled - d->sealed >= 2) {
        uint8_t *p = d->buffer + d->sealed;
        size_t n = (size_t)p[0] << 8 | p[1];

        if (n < TAG)
            return -1;
        if (d->filled - d->sealed < 2 + n)
            break;
        if (!open_frame(&d->in, p + 2, (int)n - TAG) || !seal_frame(&d->out, p + 2, (int)n - TAG))
            return -1;
        d->sealed += 2 + n;
        d->frames++;
        d->bytes += n - TAG;
    }
    return 0;
}

/* Makes room: moves the frame that is still incomplete to the front. */
static void rewind_buffer(direction *d) {
    memmove(d->buffer, d->buffer + d->sealed, d->filled - d->sealed);
    d->filled -= d->sealed;
    d->sent = d->sealed = 0;
}

/* ---- serve ---- */

struct pair;

/* One socket; direction d[i] of the pair is read from side i and written to side 1 - i. */
typedef struct {
    struct pair *pair;
    int fd, index;
    uint32_t events;
} side;

typedef struct pair {
    side s[2];
    direction d[2];
    int ended[2];        /* side i has closed its sending half */
    struct pair *buried; /* closed; freed once the events at hand are done */
} pair;

static int epoll_fd;
static pair *graveyard;

static void control(side *s, int op, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = s};

    if (epoll_ctl(epoll_fd, op, s->fd, &e))
        die("epoll_ctl");
    s->events = events;
}

static void watch(side *s, uint32_t events) {
    if (s->events != events)
        control(s, EPOLL_CTL_MOD, events);
}

static void pair_close(pair *p) {
    for (int i = 0; i < 2; i++) {
        close(p->s[i].fd);
        p->s[i].fd = -1;
        EVP_CIPHER_CTX_free(p->d[i].in.ctx);
        EVP_CIPHER_CTX_free(p->d[i].out.ctx);
    }
    p->buried = graveyard;
    graveyard = p;
}

static void pair_open(int first, int second) {
    pair *p = calloc(1, sizeof *p);
    int fds[2] = {first, second};

    if (!p)
        die("memory");
    for (int i = 0; i < 2; i++) {
        uint8_t key[32];

        fixed_key(key, i, 0);
        cipher_init(&p->d[i].in, key, 0);
        fixed_key(key, 1 - i, 1);
        cipher_init(&p->d[i].out, key, 1);
        p->s[i] = (side){.pair = p, .fd = fds[i], .index = i};
        control(&p->s[i], EPOLL_CTL_ADD, EPOLLIN);
    }
}

/* Sends what direction i has sealed; asks for writability when not all of it went, for more input when it
 * did. */
static int flush(pair *p, int i) {
    direction *d = &p->d[i];
    side *from = &p->s[i], *to = &p->s[1 - i];

    if (d->sent < d->sealed) {
        ssize_t n = send(to->fd, d->buffer + d->sent, d->sealed - d->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return -1;
        d->sent += n > 0 ? (size_t)n : 0;
    }
    if (d->sent < d->sealed) {
        watch(from, from->events & ~(uint32_t)EPOLLIN);
        watch(to, to->events | EPOLLOUT);
        return 0;
    }
    rewind_buffer(d);
    if (p->ended[i])
        return shutdown(to->fd, SHUT_WR);
    watch(to, to->events & ~(uint32_t)EPOLLOUT);
    watch(from, from->events | EPOLLIN);
    return 0;
}

static int receive(pair *p, int i) {
    direction *d = &p->d[i];
    ssize_t n = recv(p->s[i].fd, d->buffer + d->filled, READ_MAX, MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (n == 0) {
        p->ended[i] = 1;
        watch(&p->s[i], p->s[i].events & ~(uint32_t)EPOLLIN);
        return flush(p, i);
    }
    d->filled += (size_t)n;
    return reseal(d) ? -1 : flush(p, i);
}

static int finished(const pair *p, int i) {
    return p->ended[i] && p->d[i].sent == p->d[i].sealed;
}

static void handle(side *s, uint32_t events) {
    pair *p = s->pair;

    int dead = (events & EPOLLERR) || ((events & EPOLLHUP) && !(events & EPOLLIN));

    if (s->fd < 0)
        return;
    if (dead || ((events & EPOLLOUT) && flush(p, 1 - s->index)) ||
        ((events & s->events & EPOLLIN) && receive(p, s->index)) || (finished(p, 0) && finished(p, 1)))
        pair_close(p);
}

static int listen_on_loopback(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&a, n) || listen(fd, 1024) ||
        getsockname(fd, (struct sockaddr *)&a, &n))
        die("listen");
    printf("port %d\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

/* ---- how long its events take ---- */

enum { SLICES_KEPT = 1 << 20 };

static uint32_t slices[SLICES_KEPT];
static size_t slices_n;

static uint64_t wall_ns(void) {
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void slice_took(uint64_t ns) {
    slices[slices_n++ % SLICES_KEPT] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

static int by_length(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* 0 once the standard input is closed. */
static int tell_slices(void) {
    char line[64];
    size_t n = slices_n < SLICES_KEPT ? slices_n : SLICES_KEPT;

    if (read(0, line, sizeof line) <= 0)
        return 0;
    qsort(slices, n, sizeof *slices, by_length);
    printf("{\"count\": %zu, \"p50\": %u, \"p999\": %u}\n", slices_n, n ? slices[n / 2] : 0,
           n ? slices[n - 1 - n / 1000] : 0);
    fflush(stdout);
    slices_n = 0;
    return 1;
}

static void serve(int timed) {
    side input = {.fd = 0}, listener = {.fd = listen_on_loopback()};
    int waiting = -1;

    epoll_fd = epoll_create1(0);
    control(&listener, EPOLL_CTL_ADD, EPOLLIN);
    control(&input, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);

        for (int i = 0; i < n; i++) {
            side *s = events[i].data.ptr;
            int on = 1, fd;

            if (s == &input) {
                if (!timed || !tell_slices())
                    return;
                continue;
            }
            if (s != &listener) {
                uint64_t began = timed ? wall_ns() : 0;

                handle(s, events[i].events);
                if (timed)
                    slice_took(wall_ns() - began);
                continue;
            }
            while ((fd = accept4(listener.fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                if (waiting < 0) {
                    waiting = fd;
                } else {
                    pair_open(waiting, fd);
                    waiting = -1;
                }
            }
        }
        while (graveyard) {
            pair *p = graveyard;

            graveyard = p->buried;
            free(p);
        }
    }
}

/* ---- in memory ---- */

static uint64_t cpu_ns(void) {
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Opening and sealing under one key and nonce gives the same bytes again, so the frames of one read are used
 * over and over. */
static void aead_only(int frame, uint64_t total) {
    static uint8_t buffer[READ_MAX + FRAME_MAX];
    static const uint8_t key[32] = {1};
    int frames = READ_MAX / (frame + 2 + TAG) > 0 ? READ_MAX / (frame + 2 + TAG) : 1;
    uint64_t rounds = total / ((uint64_t)frames * (uint64_t)frame), started;
    cipher in, out;

    if (frame < 1 || frame > PLAIN_MAX || rounds < 1)
        die("aead: a frame of 1 to 65519 bytes, and at least one read of them");
    cipher_init(&in, key, 0);
    cipher_init(&out, key, 1);
    for (int i = 0; i < frames; i++)
        seal_frame(&out, buffer + i * (frame + 2 + TAG) + 2, frame);
    started = cpu_ns();
    for (uint64_t r = 0; r < rounds; r++) {
        in.nonce = out.nonce = 0;
        for (int i = 0; i < frames; i++) {
            uint8_t *p = buffer + i * (frame + 2 + TAG) + 2;

            if (!open_frame(&in, p, frame) || !seal_frame(&out, p, frame))
                die("aead");
        }
    }
    printf("{\"bytes\": %" PRIu64 ", \"cpu_ns\": %" PRIu64 "}\n", rounds * (uint64_t)frames * (uint64_t)frame,
           cpu_ns() - started);
}

static void arithmetic(int count) {
    uint8_t secret[32], public_key[32], shared[32], identity[32], identity_secret[64], signature[64],
        message[56] = {0};
    uint64_t started;

    if (sodium_init() < 0 || count < 1)
        die("arithmetic: at least once");
    randombytes_buf(secret, sizeof secret);
    crypto_scalarmult_base(public_key, secret);
    crypto_sign_keypair(identity, identity_secret);
    crypto_sign_detached(signature, NULL, message, sizeof message, identity_secret);
    started = cpu_ns();
    for (int i = 0; i < count; i++) {
        crypto_scalarmult_base(shared, secret);
        for (int k = 0; k < 3; k++)
            if (crypto_scalarmult(shared, secret, public_key))
                die("X25519");
        if (crypto_sign_verify_detached(signature, message, sizeof message, identity))
            die("Ed25519");
    }
    printf("{\"count\": %d, \"cpu_ns\": %" PRIu64 "}\n", count, cpu_ns() - started);
}

/* Not inlined, so that callgrind can start and stop counting at it. */
__attribute__((noinline)) void replay_bytes(direction *d, const uint8_t *p, size_t n);
void replay_bytes(direction *d, const uint8_t *p, size_t n) {
    while (n > 0) {
        size_t take = n < READ_MAX ? n : READ_MAX;

        memcpy(d->buffer + d->filled, p, take);
        d->filled += take;
        p += take;
        n -= take;
        if (reseal(d))
            die("replay: a frame does not open under this key");
        d->sent = d->sealed;
        rewind_buffer(d);
    }
}

static void replay(const char *path, const char *hex) {
    direction *d = calloc(1, sizeof *d);
    uint8_t key[32], *bytes;
    struct stat st;
    int fd = open(path, O_RDONLY);

    for (int i = 0; i < 32; i++)
        if (sscanf(hex + 2 * i, "%2hhx", &key[i]) != 1)
            die("replay: the key has 64 hex digits");
    if (!d || fd < 0 || fstat(fd, &st) || !(bytes = malloc((size_t)st.st_size)) ||
        read(fd, bytes, (size_t)st.st_size) != st.st_size)
        die(path);
    cipher_init(&d->in, key, 0);
    cipher_init(&d->out, key, 1);
    replay_bytes(d, bytes, (size_t)st.st_size);
    printf("{\"frames\": %" PRIu64 ", \"bytes\": %" PRIu64 "}\n", d->frames, d->bytes);
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "serve"))
        serve(0);
    else if (argc == 3 && !strcmp(argv[1], "serve") && !strcmp(argv[2], "timed"))
        serve(1);
    else if (argc == 3 && !strcmp(argv[1], "arithmetic"))
        arithmetic(atoi(argv[2]));
    else if (argc == 4 && !strcmp(argv[1], "aead"))
        aead_only(atoi(argv[2]), strtoull(argv[3], NULL, 10) << 20);
    else if (argc == 4 && !strcmp(argv[1], "replay") && strlen(argv[3]) == 64)
        replay(argv[2], argv[3]);
    else {
        fprintf(stderr, "usage: relay serve [timed] | aead FRAME MIB | arithmetic N | replay FILE KEY\n");
        return 2;
    }
    return 0;
}
