// Finding relays without being told any: libp2p's AutoRelay, fed with the peers that go-libp2p-kad-dht meets.
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
	"github.com/libp2p/go-libp2p/p2p/host/autorelay"
	"github.com/prometheus/client_golang/prometheus"
)

const relayTag = "autorelay" // what AutoRelay protects the connections to its relays with

// discovery is AutoRelay's source of peers and its observer.
type discovery struct {
	autorelay.MetricsTracer
	kad      string
	start    []peer.AddrInfo
	host     host.Host // set, as is table, before ready is closed
	table    *table
	ready    chan struct{} // closed when there is a host
	reserved chan struct{}
}

func newDiscovery(kadPrefix string, bootstrap []string) (*discovery, error) {
	d := &discovery{
		MetricsTracer: autorelay.NewMetricsTracer(autorelay.WithRegisterer(prometheus.NewRegistry())),
		kad:           kadPrefix,
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

func (d *discovery) begin(ctx context.Context, h host.Host) error {
	d.host = h
	var err error
	d.table, err = join(ctx, h, d.kad, false, d.start)
	close(d.ready)
	return err
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

// peers is an autorelay.PeerSource: those to begin with, and those that the DHT names for random keys.
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
		tell := func(some []peer.AddrInfo) {
			for _, one := range some {
				if len(found) < most && !seen[one.ID] {
					seen[one.ID] = true
					found <- one
				}
			}
		}
		tell(d.start)
		if d.table == nil {
			return
		}
		if closest, err := d.table.GetClosestPeers(ctx, rand.Text()); err == nil {
			for _, id := range closest {
				tell([]peer.AddrInfo{d.host.Peerstore().PeerInfo(id)})
			}
		}
	}()
	return found
}

func runDiscovering(ctx context.Context, h host.Host, d *discovery) error {
	serveTestProtocols(h)
	announce(h)
	if err := d.begin(ctx, h); err != nil {
		return err
	}
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
