// Finding relays without being told any: libp2p's AutoRelay, fed with peers that a walk through the DHT meets.
// The walk speaks Kademlia's FIND_NODE and nothing else of it, which is all that looking for relays needs.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/autorelay"
	"github.com/libp2p/go-msgio"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	findNode     = 4
	mostAsked    = 64
	askPatience  = 10 * time.Second
	largestReply = 1 << 18
	relayTag     = "autorelay" // what AutoRelay protects the connections to its relays with
)

// discovery is AutoRelay's source of peers and its observer.
type discovery struct {
	autorelay.MetricsTracer
	kad      protocol.ID
	start    []peer.AddrInfo
	host     host.Host     // set before ready is closed
	ready    chan struct{} // closed when there is a host
	reserved chan struct{}
}

func newDiscovery(kadPrefix string, bootstrap []string) (*discovery, error) {
	d := &discovery{
		MetricsTracer: autorelay.NewMetricsTracer(autorelay.WithRegisterer(prometheus.NewRegistry())),
		kad:           protocol.ID(kadPrefix + "/kad/1.0.0"),
		ready:         make(chan struct{}),
		reserved:      make(chan struct{}, 1),
	}
	for _, address := range bootstrap {
		info, err := peer.AddrInfoFromString(address)
		if err != nil {
			return nil, err
		}
		d.start = append(d.start, *info)
	}
	return d, nil
}

// options makes a host look for relays at once, and keep one.
func (d *discovery) options() []libp2p.Option {
	return []libp2p.Option{
		libp2p.ForceReachabilityPrivate(),
		libp2p.EnableAutoRelayWithPeerSource(d.peers,
			autorelay.WithNumRelays(1),
			autorelay.WithMinCandidates(1),
			autorelay.WithBootDelay(0),
			autorelay.WithMinInterval(time.Second),
			autorelay.WithBackoff(5*time.Second),
			autorelay.WithMetricsTracer(d),
		),
	}
}

func (d *discovery) begin(h host.Host) {
	d.host = h
	close(d.ready)
}

// ReservationRequestFinished is called by AutoRelay.
func (d *discovery) ReservationRequestFinished(isRefresh bool, err error) {
	d.MetricsTracer.ReservationRequestFinished(isRefresh, err)
	if err == nil {
		select {
		case d.reserved <- struct{}{}:
		default:
		}
	}
}

// relay waits for the first reservation; answers the relay and where it makes us reachable.
func (d *discovery) relay(ctx context.Context) (peer.ID, []string, error) {
	select {
	case <-d.reserved:
	case <-ctx.Done():
		return "", nil, errors.New("AutoRelay found no relay")
	}
	for _, c := range d.host.Network().Conns() {
		id := c.RemotePeer()
		if d.host.ConnManager().IsProtected(id, relayTag) {
			// AutoRelay itself tells public addresses only.
			return id, []string{fmt.Sprintf("%s/p2p/%s/p2p-circuit", c.RemoteMultiaddr(), id)}, nil
		}
	}
	return "", nil, errors.New("the relay that AutoRelay reserved at is gone")
}

// peers is an autorelay.PeerSource: those to begin with, and whoever they and their neighbours know.
func (d *discovery) peers(ctx context.Context, most int) <-chan peer.AddrInfo {
	found := make(chan peer.AddrInfo, most)
	go func() {
		defer close(found)
		select {
		case <-d.ready:
		case <-ctx.Done():
			return
		}
		seen := map[peer.ID]bool{d.host.ID(): true}
		queue := d.start
		for asked := 0; len(queue) > 0 && asked < mostAsked && ctx.Err() == nil; {
			next := queue[0]
			queue = queue[1:]
			if seen[next.ID] {
				continue
			}
			seen[next.ID] = true
			select {
			case found <- next:
			default: // as many as were asked for
				return
			}
			closer, err := d.ask(ctx, next)
			asked++
			if err == nil {
				queue = append(queue, closer...)
			}
		}
	}()
	return found
}

// ask sends FIND_NODE for a random key.
func (d *discovery) ask(ctx context.Context, to peer.AddrInfo) ([]peer.AddrInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	if err := d.host.Connect(ctx, to); err != nil {
		return nil, err
	}
	s, err := d.host.NewStream(ctx, to.ID, d.kad)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.SetDeadline(time.Now().Add(askPatience)); err != nil {
		return nil, err
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	request := protowire.AppendTag(nil, 1, protowire.VarintType)
	request = protowire.AppendVarint(request, findNode)
	request = protowire.AppendTag(request, 2, protowire.BytesType)
	request = protowire.AppendBytes(request, key)
	if err := msgio.NewVarintWriter(s).WriteMsg(request); err != nil {
		return nil, err
	}
	reply, err := msgio.NewVarintReaderSize(s, largestReply).ReadMsg()
	if err != nil {
		return nil, err
	}
	return closerPeers(reply)
}

// closerPeers reads field 8 of a Kademlia message: peers with an id (1) and addresses (2).
func closerPeers(message []byte) ([]peer.AddrInfo, error) {
	var peers []peer.AddrInfo
	err := each(message, func(field protowire.Number, value []byte) {
		if field != 8 {
			return
		}
		var one peer.AddrInfo
		err := each(value, func(field protowire.Number, value []byte) {
			switch field {
			case 1:
				one.ID, _ = peer.IDFromBytes(value)
			case 2:
				if a, err := ma.NewMultiaddrBytes(value); err == nil {
					one.Addrs = append(one.Addrs, a)
				}
			}
		})
		if err == nil && one.ID != "" && len(one.Addrs) > 0 {
			peers = append(peers, one)
		}
	})
	return peers, err
}

// each calls with every field of a protobuf message that holds bytes.
func each(message []byte, call func(protowire.Number, []byte)) error {
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		if kind == protowire.BytesType {
			value, n := protowire.ConsumeBytes(message)
			if n < 0 {
				return protowire.ParseError(n)
			}
			call(field, value)
			message = message[n:]
			continue
		}
		n = protowire.ConsumeFieldValue(field, kind, message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
	}
	return nil
}

func runDiscovering(ctx context.Context, h host.Host, d *discovery) error {
	serveTestProtocols(h)
	announce(h)
	d.begin(h)
	id, addrs, err := d.relay(ctx)
	if err != nil {
		return err
	}
	emit("reserved", fields{"relay": id.String(), "addrs": addrs})
	return untilStdinCloses()
}

// addresses is a flag that may be given several times, or hold several separated by commas.
type addresses []string

func (a *addresses) String() string { return strings.Join(*a, ",") }

func (a *addresses) Set(value string) error {
	*a = append(*a, strings.Split(value, ",")...)
	return nil
}
