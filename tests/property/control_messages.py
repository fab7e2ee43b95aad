"""Any message of the control stream, and any map that could be one of a later version."""

from __future__ import annotations

from hypothesis import strategies as st

from towpath import cbor
from towpath.credits.receipts import MAX_DUAL, MAX_RECEIPT
from towpath.relaystream.messages import (
    MAX_ASKED,
    MAX_BROUGHT,
    MAX_FOUND,
    Account,
    Allowance,
    Challenge,
    Countersigned,
    Due,
    Evidence,
    Found,
    HandOver,
    Hello,
    Known,
    LookUpPeer,
    LookUpRelays,
    Message,
    Moving,
    Period,
    PeriodName,
    Receipt,
    Refused,
    Settle,
    Settled,
    ShowReceipts,
    Standing,
    Staying,
    Taken,
)

amounts = st.integers(0, 2**63 - 1)
seconds = st.integers(0, 366 * 86400)
codes = st.integers(0, 0xFFFF)
numbers = st.integers(0, 2**32 - 1)
records = st.binary(min_size=1, max_size=1024)
receipts = st.binary(min_size=1, max_size=MAX_RECEIPT)
duals = st.binary(min_size=1, max_size=MAX_DUAL)
words = st.text(min_size=1, max_size=32)
names: st.SearchStrategy[PeriodName] = st.sampled_from(("hour", "day", "month"))


def perhaps(values: st.SearchStrategy[int]) -> st.SearchStrategy[int | None]:
    return st.none() | values


messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, st.integers(1, 0xFFFF), st.lists(words, max_size=16).map(tuple)),
    st.builds(
        Refused,
        request=st.integers(0, 0xFF),
        code=codes,
        have=perhaps(amounts),
        limit=perhaps(amounts),
        period=st.none() | names,
        again=perhaps(seconds),
        target=st.none() | st.binary(min_size=1, max_size=64),
    ),
    st.builds(
        Allowance,
        st.lists(st.builds(Period, names, amounts, amounts, seconds), max_size=3).map(tuple),
        perhaps(amounts),
    ),
    st.builds(Moving, code=codes, after=perhaps(seconds), again=perhaps(seconds)),
    st.just(Staying()),
    st.builds(Challenge, st.binary(min_size=32, max_size=32)),
    st.builds(Account, records),
    st.builds(Known, st.none() | receipts),
    st.builds(Evidence, st.lists(duals, min_size=1, max_size=MAX_BROUGHT).map(tuple), st.booleans()),
    st.builds(Standing, st.booleans(), amounts, perhaps(amounts)),
    st.builds(Due, st.integers(0, 2**24), amounts),
    st.builds(Receipt, receipts),
    st.builds(Countersigned, duals),
    st.just(Settle()),
    st.just(Settled()),
    st.builds(LookUpPeer, numbers, st.binary(min_size=1, max_size=64)),
    st.builds(LookUpRelays, numbers, st.integers(1, MAX_ASKED)),
    st.builds(ShowReceipts, numbers, st.binary(min_size=32, max_size=32), st.integers(0, 2**24)),
    st.builds(Found, numbers, st.lists(records, max_size=MAX_FOUND).map(tuple), st.booleans(), codes),
    st.builds(HandOver, numbers, records),
    st.builds(Taken, numbers, codes),
)

values: st.SearchStrategy[cbor.Value] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=80) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=12,
)
_KEYS = (
    *("t", "version", "can", "request", "code", "have", "limit", "period", "again", "target", "periods", "rate"),
    *("id", "peer_id", "most", "records", "more", "record"),
    *("nonce", "proof", "last", "receipts", "receipt", "day", "bytes", "priority", "credit", "free"),
)
maps = st.dictionaries(st.sampled_from((*_KEYS, "after")) | st.text(max_size=8), values, max_size=8).flatmap(
    lambda fields: st.sampled_from((*range(8), *range(16, 32), *range(32, 38))).map(lambda kind: {"t": kind} | fields)
)
