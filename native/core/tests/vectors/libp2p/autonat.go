package main

import (
	"encoding/hex"

	"github.com/libp2p/go-libp2p/p2p/protocol/autonatv2/pb"
	"google.golang.org/protobuf/proto"
)

// autonat prints a request for two addresses, two responses, a request for data, data, and a DialBack.
func autonat() {
	const nonce = 0x0123456789abcdef
	addrs := [][]byte{
		must(hex.DecodeString("040102030406" + "0fa1")),
		must(hex.DecodeString("2920010db8000000000000000000000001" + "060fa1")),
	}
	for _, m := range []proto.Message{
		&pb.Message{Msg: &pb.Message_DialRequest{DialRequest: &pb.DialRequest{Addrs: addrs, Nonce: nonce}}},
		&pb.Message{Msg: &pb.Message_DialResponse{DialResponse: &pb.DialResponse{
			Status: pb.DialResponse_OK, AddrIdx: 1, DialStatus: pb.DialStatus_E_DIAL_BACK_ERROR,
		}}},
		&pb.Message{Msg: &pb.Message_DialResponse{DialResponse: &pb.DialResponse{
			Status: pb.DialResponse_E_DIAL_REFUSED,
		}}},
		&pb.Message{Msg: &pb.Message_DialDataRequest{DialDataRequest: &pb.DialDataRequest{
			AddrIdx: 3, NumBytes: 65432,
		}}},
		&pb.Message{Msg: &pb.Message_DialDataResponse{DialDataResponse: &pb.DialDataResponse{Data: []byte("towpath")}}},
		&pb.DialBack{Nonce: nonce},
	} {
		row(digits(must(proto.Marshal(m))))
	}
}
