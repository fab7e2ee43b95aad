// A go-libp2p host that plays relay, listener or dialer in the interop matrix;
// peers/README.md defines its command line and the JSON lines it prints.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha3"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	echoProtocol  protocol.ID = "/towpath-test/echo/1.0.0"
	lateProtocol  protocol.ID = "/towpath-test/late-answer/1.0.0"
	earlyProtocol protocol.ID = "/towpath-test/early-close/1.0.0"

	sideBytes    = 1 << 20
	requestBytes = 1024
	greeting     = "towpath"
	patience     = 60 * time.Second
)

type fields map[string]any

var output sync.Mutex

func emit(event string, f fields) {
	line := fields{"event": event}
	for k, v := range f {
		line[k] = v
	}
	output.Lock()
	defer output.Unlock()
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		os.Exit(1)
	}
}

// expand is SHAKE-256 of seed, read to n bytes: every peer derives the same bytes from a seed.
func expand(seed []byte, n int64) io.Reader {
	h := sha3.NewSHAKE256()
	h.Write(seed)
	return io.LimitReader(h, n)
}

// tally hashes and counts what passes through it.
type tally struct {
	hash interface {
		io.Writer
		Sum([]byte) []byte
	}
	bytes int64
}

func newTally() *tally { return &tally{hash: sha256.New()} }

func (t *tally) Write(p []byte) (int, error) {
	t.bytes += int64(len(p))
	return t.hash.Write(p)
}

func (t *tally) sum() string { return hex.EncodeToString(t.hash.Sum(nil)) }

func newHost(listen string, relaying bool, more ...libp2p.Option) (host.Host, error) {
	options := []libp2p.Option{
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableMetrics(),
	}
	if listen == "" {
		options = append(options, libp2p.NoListenAddrs, libp2p.EnableRelay())
	} else {
		family := "ip4"
		if strings.Contains(listen, ":") {
			family = "ip6"
		}
		options = append(options, libp2p.ListenAddrStrings(fmt.Sprintf("/%s/%s/tcp/0", family, listen)))
	}
	h, err := libp2p.New(append(options, more...)...)
	if err != nil || !relaying {
		return h, err
	}
	_, err = relay.New(h,
		relay.WithResources(relay.Resources{
			ReservationTTL:         time.Hour,
			MaxReservations:        4096,
			MaxCircuits:            4096,
			BufferSize:             1 << 16,
			MaxReservationsPerPeer: 1,
			MaxReservationsPerIP:   4096,
			MaxReservationsPerASN:  4096,
		}),
		relay.WithInfiniteLimits(),
		relay.WithReservationAddressFilter(func(ma.Multiaddr) bool { return true }),
	)
	return h, err
}

func announce(h host.Host) {
	addrs := []string{}
	for _, a := range h.Addrs() {
		addrs = append(addrs, fmt.Sprintf("%s/p2p/%s", a, h.ID()))
	}
	emit("ready", fields{"peer_id": h.ID().String(), "addrs": addrs})
}

func untilStdinCloses() error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// serve registers one protocol; a handler that fails resets its stream and says so.
func serve(h host.Host, id protocol.ID, handle func(network.Stream, *tally) error) {
	h.SetStreamHandler(id, func(s network.Stream) {
		got := newTally()
		if err := handle(s, got); err != nil {
			_ = s.Reset()
			emit("failed", fields{"protocol": string(id), "message": err.Error()})
			return
		}
		_ = s.Close()
		emit("served", fields{"protocol": string(id), "bytes": got.bytes, "sha256": got.sum()})
	})
}

func serveTestProtocols(h host.Host) {
	serve(h, echoProtocol, func(s network.Stream, got *tally) error {
		if _, err := io.Copy(io.MultiWriter(s, got), s); err != nil {
			return err
		}
		return s.CloseWrite()
	})
	serve(h, lateProtocol, func(s network.Stream, got *tally) error {
		request, err := io.ReadAll(io.TeeReader(io.LimitReader(s, sideBytes), got))
		if err != nil {
			return err
		}
		if _, err := io.Copy(s, expand(request, sideBytes)); err != nil {
			return err
		}
		return s.CloseWrite()
	})
	serve(h, earlyProtocol, func(s network.Stream, got *tally) error {
		if _, err := io.WriteString(s, greeting); err != nil {
			return err
		}
		if err := s.CloseWrite(); err != nil {
			return err
		}
		_, err := io.Copy(got, s)
		return err
	})
}

func runListener(ctx context.Context, h host.Host, relayAddr string) error {
	serveTestProtocols(h)
	announce(h)
	if relayAddr != "" {
		info, err := peer.AddrInfoFromString(relayAddr)
		if err != nil {
			return err
		}
		if err := h.Connect(ctx, *info); err != nil {
			return err
		}
		reservation, err := client.Reserve(ctx, h, *info)
		if err != nil {
			return err
		}
		addrs := []string{}
		for _, a := range reservation.Addrs {
			addrs = append(addrs, a.String())
		}
		emit("reserved", fields{
			"relay":   info.ID.String(),
			"addrs":   addrs,
			"voucher": reservation.Voucher != nil,
			"limit":   reservation.LimitData != 0 || reservation.LimitDuration != 0,
			"expires": reservation.Expiration.Unix(),
		})
	}
	return untilStdinCloses()
}

// exchange opens a stream, lets send and receive run at the same time, and closes it.
func exchange(ctx context.Context, h host.Host, target peer.ID, id protocol.ID,
	send func(network.Stream) error, receive func(network.Stream) error,
) error {
	s, err := h.NewStream(ctx, target, id)
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		err := send(s)
		if err != nil {
			_ = s.Reset()
		}
		sent <- err
	}()
	received := receive(s)
	if received != nil {
		_ = s.Reset()
	}
	if err := errors.Join(<-sent, received); err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	return s.Close()
}

func runDialer(ctx context.Context, h host.Host, targetAddr, seed string, size int64, allowLimited bool) error {
	info, err := peer.AddrInfoFromString(targetAddr)
	if err != nil {
		return err
	}
	if allowLimited {
		ctx = network.WithAllowLimitedConn(ctx, "interop")
	}
	announce(h)
	if err := h.Connect(ctx, *info); err != nil {
		return err
	}
	emit("connected", fields{"limited": h.Network().ConnsToPeer(info.ID)[0].Stat().Limited})

	sent, received := newTally(), newTally()
	err = exchange(ctx, h, info.ID, echoProtocol, func(s network.Stream) error {
		if _, err := io.Copy(io.MultiWriter(s, sent), expand([]byte(seed), size)); err != nil {
			return err
		}
		return s.CloseWrite()
	}, func(s network.Stream) error {
		_, err := io.Copy(received, s)
		return err
	})
	if err != nil {
		return err
	}
	emit("echo", fields{
		"sent": sent.bytes, "sent_sha256": sent.sum(),
		"received": received.bytes, "received_sha256": received.sum(),
	})

	received = newTally()
	err = exchange(ctx, h, info.ID, lateProtocol, func(s network.Stream) error {
		if _, err := io.Copy(s, expand([]byte(seed), requestBytes)); err != nil {
			return err
		}
		return s.CloseWrite()
	}, func(s network.Stream) error {
		_, err := io.Copy(received, s)
		return err
	})
	if err != nil {
		return err
	}
	emit("late-answer", fields{"received": received.bytes, "received_sha256": received.sum()})

	sent = newTally()
	var greeted bytes.Buffer
	closed := make(chan error, 1)
	err = exchange(ctx, h, info.ID, earlyProtocol, func(s network.Stream) error {
		if err := <-closed; err != nil {
			return err
		}
		if _, err := io.Copy(io.MultiWriter(s, sent), expand([]byte(seed), sideBytes)); err != nil {
			return err
		}
		return s.CloseWrite()
	}, func(s network.Stream) error {
		_, err := io.Copy(&greeted, s)
		closed <- err
		return err
	})
	if err != nil {
		return err
	}
	emit("early-close", fields{"greeting": greeted.String(), "sent": sent.bytes, "sent_sha256": sent.sum()})
	// What was sent last may still be on its way.
	return untilStdinCloses()
}

func run() error {
	if len(os.Args) < 2 {
		return errors.New("usage: peer relay|listener|dialer|dht|autonat [options]")
	}
	role := os.Args[1]
	flags := flag.NewFlagSet(role, flag.ContinueOnError)
	listen := flags.String("listen", "", "IP address to listen on")
	relayAddr := flags.String("relay", "", "relay to reserve at")
	target := flags.String("target", "", "address to dial")
	about := flags.String("about", "", "address to ask about")
	seed := flags.String("seed", "", "seed of the bytes to send")
	size := flags.Int64("bytes", 16<<20, "bytes to echo")
	allowLimited := flags.Bool("allow-limited", false, "open streams on connections with a told limit")
	meet := flags.Bool("mdns", false, "announce the host by mDNS, and tell of other hosts that do")
	var discover addresses
	flags.Var(&discover, "discover", "find a relay through the DHT that this peer belongs to; repeatable")
	kad := flags.String("kad", "/ipfs", "prefix of that DHT's protocol")
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	finding, err := newDiscovery(*kad, discover)
	if err != nil {
		return err
	}
	var more []libp2p.Option
	if len(discover) > 0 && role == "listener" {
		more = finding.options()
	}
	h, err := newHost(*listen, role == "relay", more...)
	if err != nil {
		return err
	}
	if *meet {
		if err := meetNeighbours(h); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch role {
	case "relay":
		announce(h)
		err = untilStdinCloses()
	case "listener":
		if len(discover) > 0 {
			err = runDiscovering(ctx, h, finding)
		} else {
			err = runListener(ctx, h, *relayAddr)
		}
	case "dht":
		err = runServer(ctx, h, finding.kad, finding.start)
	case "autonat":
		err = runAutonat(ctx, h, *target, *about)
	case "dialer":
		err = runDialer(ctx, h, *target, *seed, *size, *allowLimited)
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	return errors.Join(err, h.Close())
}

func main() {
	if err := run(); err != nil {
		emit("error", fields{"message": err.Error()})
		os.Exit(1)
	}
}
