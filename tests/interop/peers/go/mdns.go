package main

import (
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
)

// neighbours tells of every peer that the local network announces.
type neighbours struct{}

func (neighbours) HandlePeerFound(info peer.AddrInfo) {
	addrs := []string{}
	for _, a := range info.Addrs {
		addrs = append(addrs, a.String())
	}
	emit("found", fields{"peer_id": info.ID.String(), "addrs": addrs})
}

// meetNeighbours announces the host by mDNS and looks for others, until the process ends.
func meetNeighbours(h host.Host) error {
	return mdns.NewMdnsService(h, mdns.ServiceName, neighbours{}).Start()
}
