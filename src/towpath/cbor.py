"""Canonical CBOR, the form of all our own messages: one value has one encoding, and nothing but plain values.

Used for tickets, tunnels and everything that is signed. A caller checks the size before it calls `decode`.
"""

from __future__ import annotations

__all__ = ["Value", "decode", "encode"]

Value = None | bool | int | bytes | str | list["Value"] | dict[str, "Value"]


def encode(value: Value) -> bytes:
    """The one encoding of a value, a tuple's being an array; integers must fit in 64 bits."""
    # Imported when it is used first: a node that says nothing of our own starts without it.
    import cbor2

    _check(value)
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes) -> Value:
    """The value that `data` encodes; ValueError unless `data` is exactly its canonical encoding, without tags."""
    import cbor2

    try:
        value: Value = cbor2.loads(data, max_depth=16, allow_indefinite=False, allow_duplicate_keys=False)
        _check(value)
        again = cbor2.dumps(value, canonical=True)
    except (cbor2.CBORError, TypeError, OverflowError, RecursionError) as e:
        raise ValueError(f"not plain CBOR: {e}") from e
    if again != data:
        raise ValueError("not canonical CBOR: another encoding of the same value, or bytes after it")
    return value


def _check(value: object) -> None:
    # cbor2 turns tags into Python objects (dates, big integers, sets), so a type or range check is what
    # refuses them.
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError("not plain CBOR: a key that is no text")
            _check(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check(inner)
    elif isinstance(value, bool) or value is None or isinstance(value, (bytes, str)):
        pass
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise ValueError("not plain CBOR: an integer of more than 64 bits")
    else:
        raise ValueError(f"not plain CBOR: a value of type {type(value).__name__}")
