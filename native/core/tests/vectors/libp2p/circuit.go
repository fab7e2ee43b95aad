package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/record"
	pb "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/pb"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	ma "github.com/multiformats/go-multiaddr"
	protobuf "google.golang.org/protobuf/proto"
)

const expire = 1893456000

func sealVoucher(relay crypto.PrivKey) []byte {
	voucher := &proto.ReservationVoucher{Relay: idOf(relay), Peer: idOf(ed25519Key(2)), Expiration: time.Unix(expire, 0)}
	return must(must(record.Seal(voucher, relay)).Marshal())
}

// voucher prints {relay's Ed25519 seed byte (0: another type of key), relay's id, peer's id, expiry, envelope}.
func voucher() {
	ecdsaKey, _, err := crypto.ECDSAKeyPairFromKey(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))
	check(err)
	print := func(seed int, key crypto.PrivKey) {
		row(fmt.Sprint(seed), digits([]byte(idOf(key))), digits([]byte(idOf(ed25519Key(2)))), fmt.Sprint(expire), digits(sealVoucher(key)))
	}
	print(1, ed25519Key(1))
	print(0, ecdsaKey)
}

func ptr[T any](v T) *T { return &v }

// circuit prints {name, is it a StopMessage, bytes}; the tests know the fields by name.
func circuit() {
	addr := must(ma.NewMultiaddr("/ip4/192.0.2.7/tcp/4001")).Bytes()
	other := must(ma.NewMultiaddr("/ip6/2001:db8::7/tcp/4001")).Bytes()
	target := &pb.Peer{Id: []byte(idOf(ed25519Key(2)))}
	withAddrs := &pb.Peer{Id: []byte(idOf(ed25519Key(2))), Addrs: [][]byte{addr, other}}
	limit := &pb.Limit{Duration: ptr(uint32(120)), Data: ptr(uint64(1 << 17))}
	reservation := &pb.Reservation{Expire: ptr(uint64(expire)), Addrs: [][]byte{addr, other}, Voucher: sealVoucher(ed25519Key(1))}
	hop := func(name string, m *pb.HopMessage) { row(quoted(name), "0", digits(must(protobuf.Marshal(m)))) }
	stop := func(name string, m *pb.StopMessage) { row(quoted(name), "1", digits(must(protobuf.Marshal(m)))) }
	hop("reserve", &pb.HopMessage{Type: pb.HopMessage_RESERVE.Enum()})
	hop("connect", &pb.HopMessage{Type: pb.HopMessage_CONNECT.Enum(), Peer: target})
	hop("connect with addresses", &pb.HopMessage{Type: pb.HopMessage_CONNECT.Enum(), Peer: withAddrs})
	hop("refused", &pb.HopMessage{Type: pb.HopMessage_STATUS.Enum(), Status: pb.Status_RESERVATION_REFUSED.Enum()})
	hop("reserved", &pb.HopMessage{Type: pb.HopMessage_STATUS.Enum(), Status: pb.Status_OK.Enum(), Reservation: reservation})
	hop("reserved with a limit", &pb.HopMessage{Type: pb.HopMessage_STATUS.Enum(), Status: pb.Status_OK.Enum(), Reservation: reservation, Limit: limit})
	stop("connect", &pb.StopMessage{Type: pb.StopMessage_CONNECT.Enum(), Peer: target})
	stop("connect with a limit", &pb.StopMessage{Type: pb.StopMessage_CONNECT.Enum(), Peer: target, Limit: limit})
	stop("accepted", &pb.StopMessage{Type: pb.StopMessage_STATUS.Enum(), Status: pb.Status_OK.Enum()})
}
