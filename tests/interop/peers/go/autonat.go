package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/autonatv2"
	ma "github.com/multiformats/go-multiaddr"
)

// runAutonat serves AutoNAT v2 on private addresses, too; with a target it asks that one whether h is reachable at
// about (default: where it listens).
func runAutonat(ctx context.Context, h host.Host, targetAddr, about string) error {
	dialer, err := newHost("", false)
	if err != nil {
		return err
	}
	an, err := autonatv2.New(dialer, autonatv2.AllowPrivateAddrs)
	if err != nil {
		return err
	}
	if err := an.Start(h); err != nil {
		return err
	}
	defer an.Close()
	announce(h)
	if targetAddr != "" {
		if err := askAutonat(ctx, h, an, targetAddr, about); err != nil {
			return err
		}
	}
	return untilStdinCloses()
}

func askAutonat(ctx context.Context, h host.Host, an *autonatv2.AutoNAT, targetAddr, about string) error {
	info, err := peer.AddrInfoFromString(targetAddr)
	if err != nil {
		return err
	}
	if err := h.Connect(ctx, *info); err != nil {
		return err
	}
	addr := h.Addrs()[0]
	if about != "" {
		if addr, err = ma.NewMultiaddr(about); err != nil {
			return err
		}
	}
	// The server is known as one once identify has told so.
	for {
		result, err := an.GetReachability(ctx, []autonatv2.Request{{Addr: addr, SendDialData: true}})
		if err == nil {
			emit("reachability", fields{
				"addr": addr.String(), "reachability": result.Reachability.String(), "refused": result.AllAddrsRefused,
			})
			return nil
		}
		protocols, _ := h.Peerstore().GetProtocols(info.ID)
		if ctx.Err() != nil || slices.Contains(protocols, autonatv2.DialProtocol) && err != autonatv2.ErrNoPeers {
			return fmt.Errorf("asking about %s: %w", addr, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
