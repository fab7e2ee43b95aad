// Prints what go-libp2p makes, as rows of C initializers: keys, circuit, identify, payload, multiaddr or autonat.
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

const message = "what every key here has signed"

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func quoted(s string) string { return strconv.Quote(s) }

func digits(b []byte) string { return fmt.Sprintf("\"%x\"", b) }

// row prints one initializer; the fields are C already.
func row(fields ...string) {
	fmt.Println("{" + strings.Join(fields, ",\n ") + "},")
}

func main() {
	topics := map[string]func(){
		"autonat": autonat,
		"keys":    keys, "circuit": circuit, "voucher": voucher, "identify": identify, "payload": payload, "multiaddr": multiaddrs,
	}
	fmt.Printf("/* Printed by libp2p/ %s. */\n", os.Args[1])
	topics[os.Args[1]]()
}
