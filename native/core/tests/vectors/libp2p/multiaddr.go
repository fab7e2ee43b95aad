package main

import (
	"fmt"
	"strings"

	ma "github.com/multiformats/go-multiaddr"
)

const onion3 = "vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd"

// multiaddrs prints {text, bytes, does it contain a circuit}.
func multiaddrs() {
	for _, text := range []string{
		"/ip4/1.2.3.4/tcp/4001",
		"/ip6/2001:db8::1/tcp/65535",
		"/ip6zone/eth0/ip6/fe80::1/tcp/1",
		"/ip4/1.2.3.4/udp/4001/quic-v1/webtransport/certhash/uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g",
		"/ip4/1.2.3.4/udp/9090/webrtc-direct/certhash/uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g",
		"/ip4/1.2.3.4/udp/4001/quic",
		"/dns/example.com/tcp/443/wss",
		"/dns4/example.com/tcp/443/tls/sni/example.com/ws",
		"/dns6/example.com/tcp/80/ws",
		"/dns4/example.com/tcp/443/https",
		"/dns4/example.com/tcp/80/http/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
		"/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
		"/ip4/1.2.3.4/tcp/4001/noise/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq",
		"/ip4/1.2.3.4/tcp/4001/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq/p2p-circuit",
		"/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq/p2p-circuit/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
		"/p2p-circuit/webrtc/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
		"/onion3/" + onion3 + ":1234",
		"/unix/run/socket",
		"/garlic64/" + strings.Repeat("A", 516),
		"/memory/4",
	} {
		addr := must(ma.NewMultiaddr(text))
		circuit := strings.Contains(text, "/p2p-circuit")
		row(quoted(text), digits(addr.Bytes()), fmt.Sprint(map[bool]int{true: 1}[circuit]))
	}
}
