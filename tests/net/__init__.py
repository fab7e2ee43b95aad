"""The relay's promises, checked from outside: a `towpath run` process on loopback, peers of tests/peerlab around it."""
