/* SHA-256, HMAC and the HKDF of Noise, for inputs of a few dozen bytes. */
#ifndef TP_HASH_H
#define TP_HASH_H
#include <stddef.h>
#include <stdint.h>

enum { TP_HASH = 32 };

/* SHA-256 of two pieces one after the other; out may be one of them. */
void tp_sha256_2(uint8_t out[TP_HASH], const uint8_t *a, size_t a_n, const uint8_t *b, size_t b_n);
/* Noise's HKDF(ck, input) with two outputs (revision 34, section 4.3); out1 may be ck. */
void tp_hkdf2(const uint8_t ck[TP_HASH], const uint8_t *input, size_t n, uint8_t out1[TP_HASH],
              uint8_t out2[TP_HASH]);
#endif
