"""Messages of the control stream: what is taken is within its bounds, in its one encoding, and was said."""

from __future__ import annotations

import json
from pathlib import Path

from towpath import cbor
from towpath.relaystream.framing import HEADER_SIZE
from towpath.relaystream.messages import MAX_MESSAGE, ControlProtocolError, Unknown, decode, encode

__all__ = ["check", "seeds"]

_VECTORS = Path(__file__).parents[2] / "tests" / "vectors" / "relaystream.json"


def seeds() -> list[bytes]:
    """The messages of the test vectors."""
    return [bytes.fromhex(vector["bytes"])[HEADER_SIZE:] for vector in json.loads(_VECTORS.read_text())["messages"]]


def check(data: bytes) -> None:
    """AssertionError when the decoder took what it must not; any other exception is a fault of the decoder, too."""
    try:
        message = decode(data)
    except ControlProtocolError:
        return
    _must(1 <= len(data) <= MAX_MESSAGE, "it is too large")
    fields = _map(data)
    if isinstance(message, Unknown):
        _must(fields["t"] == message.type, "it has another type")
        return
    again = encode(message)
    _must(decode(again) == message, "it does not survive")
    said = _map(again)
    known = {*type(message).__struct_fields__, "t"}
    _must(set(said) <= set(fields) & known, "it says more than stood there")
    # Of a period, a key of a later version is passed over as well.
    _must(all(fields[key] == value for key, value in said.items() if key != "periods"), "it says something else")


def _map(data: bytes) -> dict[str, cbor.Value]:
    fields = cbor.decode(data)
    if not isinstance(fields, dict):
        raise AssertionError("it is no map")
    return fields


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
