# cython: language_level=3
"""Circuit-relay messages for Python: what a client says to a relay, and what it hears."""
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

from towpath._native.core cimport (
    TP_HOP_CONNECT, TP_HOP_MAX, TP_HOP_RESERVE, TP_STOP_STATUS,
    tp_circuit_msg, tp_hop_get, tp_hop_put, tp_peer_id_valid, tp_stop_get, tp_stop_put,
    tp_varint_get, tp_varint_put, tp_voucher, tp_voucher_get,
)

MESSAGE_MAX = TP_HOP_MAX
"""Longest HOP or STOP message, its length prefix apart (bytes)."""


class Message:
    """A decoded HopMessage or StopMessage; absent fields are None (addresses: [])."""

    __slots__ = (
        "type", "status", "peer_id", "addresses", "expires_at", "voucher", "limit_s", "limit_data", "has_reservation")


cdef object decoded(const tp_circuit_msg* m):
    r = Message()
    r.type = None if m.type < 0 else m.type
    r.status = None if m.status < 0 else m.status
    r.peer_id = m.peer_id.p[:m.peer_id.n] if m.has_peer and tp_peer_id_valid(m.peer_id.p, m.peer_id.n) else None
    r.addresses = [m.addrs[i].p[:m.addrs[i].n] for i in range(m.addrs_n)]
    r.has_reservation = m.has_reservation != 0
    r.expires_at = m.expire if m.has_reservation else None
    r.voucher = m.voucher.p[:m.voucher.n] if m.voucher.n else None
    r.limit_s = m.limit_duration if m.has_limit and m.limit_duration else None
    r.limit_data = m.limit_data if m.has_limit and m.limit_data else None
    return r


cdef bytes framed(const uint8_t* p, int n):
    cdef uint8_t prefix[10]
    return prefix[:tp_varint_put(prefix, n)] + p[:n]


def message_length(bytes data not None):
    """(bytes the length prefix takes, length) of a message that begins in `data`; None while more is needed.
    ValueError when it is no length, or over MESSAGE_MAX."""
    cdef uint64_t length
    cdef int used = tp_varint_get(<const uint8_t*>data, len(data), &length)
    if used < 0 or (used > 0 and length > TP_HOP_MAX):
        raise ValueError("a relay message is longer than 4096 bytes")
    return None if used == 0 else (used, length)


def hop_reserve():
    """RESERVE with its length prefix."""
    cdef tp_circuit_msg m
    cdef uint8_t out[64]
    memset(&m, 0, sizeof(m))
    m.type, m.status = TP_HOP_RESERVE, -1
    return framed(out, tp_hop_put(out, 64, &m))


def hop_connect(bytes target not None):
    """CONNECT to a peer id, with its length prefix."""
    cdef tp_circuit_msg m
    cdef uint8_t out[256]
    if not tp_peer_id_valid(<const uint8_t*>target, len(target)):
        raise ValueError("not a peer id")
    memset(&m, 0, sizeof(m))
    m.type, m.status, m.has_peer = TP_HOP_CONNECT, -1, 1
    m.peer_id.p, m.peer_id.n = <const uint8_t*>target, len(target)
    return framed(out, tp_hop_put(out, 256, &m))


def stop_status(int status):
    """A STOP answer with its length prefix."""
    cdef tp_circuit_msg m
    cdef uint8_t out[64]
    memset(&m, 0, sizeof(m))
    m.type, m.status = TP_STOP_STATUS, status
    return framed(out, tp_stop_put(out, 64, &m))


def read_hop(bytes data not None):
    """Decodes a HopMessage without its length prefix. ValueError when malformed."""
    cdef tp_circuit_msg m
    if tp_hop_get(<const uint8_t*>data, len(data), &m) != 0:
        raise ValueError("malformed HOP message")
    return decoded(&m)


def read_stop(bytes data not None):
    """Decodes a StopMessage without its length prefix. ValueError when malformed."""
    cdef tp_circuit_msg m
    if tp_stop_get(<const uint8_t*>data, len(data), &m) != 0:
        raise ValueError("malformed STOP message")
    return decoded(&m)


def read_voucher(bytes data not None):
    """(relay id, peer id, expiry in Unix seconds) of a voucher whose signature holds. ValueError otherwise."""
    cdef tp_voucher v
    if tp_voucher_get(<const uint8_t*>data, len(data), &v) != 0:
        raise ValueError("the voucher is malformed or not signed by its relay")
    return v.relay.p[:v.relay.n], v.peer.p[:v.peer.n], v.expire
