"""The Identify message (libp2p specs, identify)."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.peerlab.protobuf import Fields, message

IDENTIFY = "/ipfs/id/1.0.0"
PUSH = "/ipfs/id/push/1.0.0"


@dataclass(frozen=True)
class Identify:
    public_key: bytes
    addresses: Sequence[bytes] = ()
    protocols: Sequence[str] = ()
    observed: bytes = b""
    agent: str = "peerlab"
    version: str = "ipfs/0.1.0"

    def encode(self) -> bytes:
        return message(
            [
                (1, self.public_key),
                *((2, address) for address in self.addresses),
                *((3, protocol.encode()) for protocol in self.protocols),
                (4, self.observed),
                (5, self.version.encode()),
                (6, self.agent.encode()),
            ]
        )

    @classmethod
    def decode(cls, data: bytes) -> "Identify":
        fields = Fields(data)
        return cls(
            public_key=fields.binary(1) or b"",
            addresses=fields.all_binary(2),
            protocols=[protocol.decode() for protocol in fields.all_binary(3)],
            observed=fields.binary(4) or b"",
            version=(fields.binary(5) or b"").decode(),
            agent=(fields.binary(6) or b"").decode(),
        )
