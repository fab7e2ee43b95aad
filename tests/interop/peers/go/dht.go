// go-libp2p-kad-dht, as a client or as a server of a network's DHT.
package main

import (
	"context"
	"errors"
	"strings"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	publicPrefix  = "/ipfs"
	largestRecord = 1024
	joinEvery     = 500 * time.Millisecond
)

type table = dht.IpfsDHT

// sealed takes what could be one of our records: who reads it checks the signature.
type sealed struct{}

func (sealed) Validate(_ string, value []byte) error {
	if len(value) == 0 || len(value) > largestRecord {
		return errors.New("not a record of this network")
	}
	return nil
}

// Select prefers what came last, which stands first.
func (sealed) Select(string, [][]byte) (int, error) { return 0, nil }

// join makes the host a member of the DHT whose protocol is prefix/kad/1.0.0. A server waits until it knows somebody there.
func join(ctx context.Context, h host.Host, prefix string, serve bool, start []peer.AddrInfo) (*table, error) {
	mode := dht.ModeClient
	if serve {
		mode = dht.ModeServer
	}
	options := []dht.Option{dht.Mode(mode), dht.ProtocolPrefix(protocol.ID(prefix)), dht.BootstrapPeers(start...)}
	if !strings.HasPrefix(prefix, publicPrefix) {
		options = append(options, dht.NamespacedValidator("relays", sealed{}), dht.NamespacedValidator("towpath", sealed{}))
	}
	d, err := dht.New(context.Background(), h, options...)
	if err != nil {
		return nil, err
	}
	for _, one := range start {
		// Who cannot be reached is tried again by the DHT itself.
		_ = h.Connect(ctx, one)
	}
	if err := d.Bootstrap(ctx); err != nil {
		return nil, err
	}
	for serve && len(start) > 0 && d.RoutingTable().Size() == 0 {
		select {
		case <-time.After(joinEvery):
			<-d.RefreshRoutingTable()
		case <-ctx.Done():
			return nil, errors.New("nobody in the DHT answered")
		}
	}
	return d, nil
}

// runServer serves the DHT until standard input closes, and tells how many it knows whenever that changes.
func runServer(ctx context.Context, h host.Host, prefix string, start []peer.AddrInfo) error {
	d, err := join(ctx, h, prefix, true, start)
	if err != nil {
		return err
	}
	defer d.Close()
	announce(h)
	go func() {
		for known := 0; ; time.Sleep(joinEvery) {
			if now := d.RoutingTable().Size(); now != known {
				known = now
				emit("known", fields{"peers": known})
			}
		}
	}()
	return untilStdinCloses()
}
