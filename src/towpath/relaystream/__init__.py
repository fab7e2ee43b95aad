"""The control stream between a towpath client and its relay, `/towpath/relay/1`: what HOP has no words for.

`messages` says what goes over it, `framing` cuts it into messages, `reasons` puts codes and numbers into sentences;
`stream` is one end without knowing which, `relay` and `client` are the two ends. docs/protocol.md defines the bytes.
"""

from typing import Final

PROTOCOL: Final = "/towpath/relay/1"
ACCOUNTS: Final = "account"
"""The word of HELLO of a relay that takes accounts."""
