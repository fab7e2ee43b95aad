package main

import (
	"bytes"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"
	identifypb "github.com/libp2p/go-libp2p/p2p/protocol/identify/pb"
	noisepb "github.com/libp2p/go-libp2p/p2p/security/noise/pb"
	ma "github.com/multiformats/go-multiaddr"
	protobuf "google.golang.org/protobuf/proto"
)

// identify prints one Identify message.
func identify() {
	key := ed25519Key(1)
	listen := must(ma.NewMultiaddr("/ip4/192.0.2.7/tcp/4001"))
	rec := peer.PeerRecordFromAddrInfo(peer.AddrInfo{ID: idOf(key), Addrs: []ma.Multiaddr{listen}})
	rec.Seq = 7
	m := &identifypb.Identify{
		PublicKey:        must(crypto.MarshalPublicKey(key.GetPublic())),
		ListenAddrs:      [][]byte{listen.Bytes(), must(ma.NewMultiaddr("/ip6/::1/tcp/4001")).Bytes()},
		Protocols:        []string{"/ipfs/ping/1.0.0", "/ipfs/id/1.0.0", "/libp2p/circuit/relay/0.2.0/hop"},
		ObservedAddr:     must(ma.NewMultiaddr("/ip4/198.51.100.3/tcp/50000")).Bytes(),
		ProtocolVersion:  ptr("ipfs/0.1.0"),
		AgentVersion:     ptr("go-libp2p"),
		SignedPeerRecord: must(must(record.Seal(rec, key)).Marshal()),
	}
	row(digits(must(protobuf.Marshal(m))))
}

// payload prints {static key, peer id, payload without muxers, with others, with yamux among others} of Noise handshakes.
func payload() {
	static := bytes.Repeat([]byte{0x5a}, 32)
	secp := must(crypto.UnmarshalPrivateKey(specifiedBytes("the specification's secp256k1")))
	for _, key := range []crypto.PrivKey{ed25519Key(1), secp} {
		m := &noisepb.NoiseHandshakePayload{
			IdentityKey: must(crypto.MarshalPublicKey(key.GetPublic())),
			IdentitySig: must(key.Sign(append([]byte("noise-libp2p-static-key:"), static...))),
		}
		none := must(protobuf.Marshal(m))
		m.Extensions = &noisepb.NoiseExtensions{StreamMuxers: []string{"/mplex/6.7.0"}}
		others := must(protobuf.Marshal(m))
		m.Extensions = &noisepb.NoiseExtensions{
			WebtransportCerthashes: [][]byte{{1, 2, 3}}, StreamMuxers: []string{"/mplex/6.7.0", "/yamux/1.0.0"}}
		row(digits(static), digits([]byte(idOf(key))), digits(none), digits(others), digits(must(protobuf.Marshal(m))))
	}
}
