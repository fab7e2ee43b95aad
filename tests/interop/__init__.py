"""Interoperation with real go-libp2p, rust-libp2p and js-libp2p hosts."""
