/* Loaded into a node before everything else (LD_PRELOAD): writes down whatever the node opens with libsodium's
 * ChaCha20-Poly1305, which under native.aead=libsodium is every Noise message that it receives, of the connection itself
 * and of what is private inside a circuit.
 *
 * A record in the file TOWPATH_TEST_WITNESS is: the length of the sender's address, that address as text (whose socket
 * was read last, "address port"), the length of the message (4 bytes, little endian), the message. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

typedef int open_detached(unsigned char *, unsigned char *, const unsigned char *, unsigned long long,
                          const unsigned char *, const unsigned char *, unsigned long long,
                          const unsigned char *, const unsigned char *);
typedef ssize_t receive(int, void *, size_t, int);

static int file = -1;
static char from[64];

static int opened(void) {
    if (file == -1) {
        const char *name = getenv("TOWPATH_TEST_WITNESS");
        file = name == NULL ? -2 : open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    return file >= 0;
}

static void remember_sender(int fd) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } peer;
    socklen_t size = sizeof peer;
    char text[INET6_ADDRSTRLEN] = "";
    unsigned port = 0;
    if (getpeername(fd, &peer.any, &size) != 0)
        return;
    if (peer.any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &peer.v4.sin_addr, text, sizeof text);
        port = ntohs(peer.v4.sin_port);
    } else if (peer.any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &peer.v6.sin6_addr, text, sizeof text);
        port = ntohs(peer.v6.sin6_port);
    }
    snprintf(from, sizeof from, "%s %u", text, port);
}

ssize_t recv(int fd, void *to, size_t n, int flags) {
    static receive *real;
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "recv");
    if (opened())
        remember_sender(fd);
    return real(fd, to, n, flags);
}

int crypto_aead_chacha20poly1305_ietf_decrypt_detached(unsigned char *m, unsigned char *nsec,
                                                       const unsigned char *c, unsigned long long n,
                                                       const unsigned char *mac, const unsigned char *ad,
                                                       unsigned long long ad_n, const unsigned char *nonce,
                                                       const unsigned char *key) {
    static open_detached *real;
    if (real == NULL) {
        /* It came with an extension module and is in nobody's global scope. */
        void *sodium = dlopen("libsodium.so.23", RTLD_LAZY | RTLD_NOLOAD);
        *(void **)&real = sodium == NULL ? NULL : dlsym(sodium, __func__);
        if (real == NULL)
            abort();
    }
    int done = real(m, nsec, c, n, mac, ad, ad_n, nonce, key);
    if (done == 0 && m != NULL && opened()) {
        uint8_t length = (uint8_t)strlen(from);
        uint32_t size = (uint32_t)n;
        struct iovec parts[] = {{&length, 1}, {from, length}, {&size, 4}, {m, (size_t)n}};
        ssize_t whole = 1 + length + 4 + (ssize_t)n;
        if (writev(file, parts, 4) != whole)
            abort(); /* a witness with gaps is none */
    }
    return done;
}
