package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// The private keys of the specification's test vectors (peer-ids.md).
var specified = map[string]string{
	"the specification's ecdsa":     "08031279307702010104203E5B1FE9712E6C314942A750BD67485DE3C1EFE85B1BFB520AE8F9AE3DFA4A4CA00A06082A8648CE3D030107A14403420004DE3D300FA36AE0E8F5D530899D83ABAB44ABF3161F162A4BC901D8E6ECDA020E8B6D5F8DA30525E71D6851510C098E5C47C646A597FB4DCEC034E9F77C409E62",
	"the specification's ed25519":   "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e",
	"the specification's secp256k1": "0802122053DADF1D5A164D6B4ACDB15E24AA4C5B1D3461BDBD42ABEDB0A4404D56CED8FB",
}

// ed25519Key is the key pair of a seed of one repeated byte.
func ed25519Key(seed byte) crypto.PrivKey {
	key, _, err := crypto.GenerateEd25519Key(bytes.NewReader(bytes.Repeat([]byte{seed}, 32)))
	check(err)
	return key
}

func idOf(key crypto.PrivKey) peer.ID { return must(peer.IDFromPublicKey(key.GetPublic())) }

func keyRow(name string, key crypto.PrivKey) {
	row(quoted(name), digits(must(crypto.MarshalPublicKey(key.GetPublic()))), digits([]byte(idOf(key))),
		digits(must(key.Sign([]byte(message)))))
}

// keys prints {name, encoded public key, peer id, signature of `message`}.
func keys() {
	for _, name := range []string{"the specification's ecdsa", "the specification's ed25519", "the specification's secp256k1"} {
		keyRow(name, must(crypto.UnmarshalPrivateKey(specifiedBytes(name))))
	}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, _, err := crypto.ECDSAKeyPairFromKey(must(ecdsa.GenerateKey(curve, rand.Reader)))
		check(err)
		keyRow(curve.Params().Name, key)
	}
	secp, _, err := crypto.GenerateSecp256k1Key(rand.Reader)
	check(err)
	keyRow("secp256k1", secp)
	keyRow("ed25519", ed25519Key(1))
	for _, bits := range []int{2048, 3072, 8192} {
		key, _, err := crypto.GenerateRSAKeyPair(bits, rand.Reader)
		check(err)
		keyRow(fmt.Sprintf("rsa %d", bits), key)
	}
}

func specifiedBytes(name string) []byte { return must(hex.DecodeString(specified[name])) }
