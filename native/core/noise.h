/* Noise_XX_25519_ChaChaPoly_SHA256 (noiseprotocol.org, revision 34), the handshake messages alone: no I/O, no
 * lengths.
 *
 *   -> e
 *   <- e, ee, s, es   payload
 *   -> s, se          payload
 */
#ifndef TP_NOISE_H
#define TP_NOISE_H
#include "aead.h"

enum {
    TP_NOISE_MAX = 65535,      /* a message on the wire */
    TP_NOISE_PLAIN_MAX = 65519 /* its plaintext once the handshake is over */
};

typedef struct {
    tp_aead *aead;
    tp_cipher k;
    int has_key;
    int initiator;
    int step;  /* messages done, 0 to 3; -1 after a failure, which is final */
    int has_e; /* e_secret is set: only by tp_noise_fix_ephemeral before it is sent */
    uint8_t h[32], ck[32];
    uint8_t s_public[32], s_secret[32];
    uint8_t e_public[32], e_secret[32];
    uint8_t rs[32], re[32]; /* the other side's */
} tp_noise;

/* static_public/secret: X25519 key pair. Prologue is empty, as libp2p has it. */
void tp_noise_init(tp_noise *x, tp_aead *aead, int initiator, const uint8_t static_public[32],
                   const uint8_t static_secret[32]);
/* For test vectors only: fixes the ephemeral key that the next written message uses. */
void tp_noise_fix_ephemeral(tp_noise *x, const uint8_t secret[32]);
/* Is it our turn to write? */
int tp_noise_writes(const tp_noise *x);
int tp_noise_done(const tp_noise *x);

/* Writes the next message with this payload into out; returns its length, or -1 when out_max is too small or
 * it is not our turn. An out of payload_n + 96 bytes always suffices. */
int tp_noise_write(tp_noise *x, const uint8_t *payload, size_t payload_n, uint8_t *out, size_t out_max);
/* Reads the next message in place. On success *payload points into msg, *payload_n is its length, 0 is
 * returned. -1: truncated, forged, a low-order public key (all-zero shared secret), or not our turn to read.
 */
int tp_noise_read(tp_noise *x, uint8_t *msg, size_t n, uint8_t **payload, size_t *payload_n);
/* After the third message: the transport ciphers, ours to send first. Wipes the handshake's secrets. */
void tp_noise_split(tp_noise *x, tp_cipher *send, tp_cipher *recv);
void tp_noise_wipe(tp_noise *x);
#endif
