/* Binary multiaddrs (github.com/multiformats/multiaddr), as far as a relay must understand them. */
#ifndef TP_MULTIADDR_H
#define TP_MULTIADDR_H
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { TP_MULTIADDR_MAX = 512, TP_MULTIADDR_SOCKET_MAX = 22 };

/* Is p[0..n) a sequence of known protocols with valid values? Unknown codes make it invalid. Known at least:
 * ip4 ip6 ip6zone tcp udp dns dns4 dns6 dnsaddr quic quic-v1 ws wss tls sni noise p2p p2p-circuit
 * webtransport certhash webrtc webrtc-direct http https unix onion3 garlic64. */
int tp_multiaddr_valid(const uint8_t *p, size_t n);
/* /ip4|ip6/…/tcp/… of a socket address; the length, or -1 for another family. IPv4-mapped IPv6 becomes ip4.
 */
int tp_multiaddr_of_socket(const struct sockaddr *sa, uint8_t out[TP_MULTIADDR_SOCKET_MAX]);
/* Does it contain /p2p-circuit? -1 when invalid. */
int tp_multiaddr_is_circuit(const uint8_t *p, size_t n);
#endif
