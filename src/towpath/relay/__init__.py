"""What a relay decides: policy only. Bytes and messages are the native core's (native/hop.pyx)."""
