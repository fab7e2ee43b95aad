"""What examples/chat takes from a peer: bounded, printable, or refused with ValueError."""

from __future__ import annotations

import json

import pytest
from examples.chat.messages import LONGEST_NAME, LONGEST_TEXT, MOST_PEOPLE, Hello, Say, decode, encode
from hypothesis import given
from hypothesis import strategies as st

printed = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1)
addresses = st.text("abcdef/123", max_size=400)
hellos = st.builds(
    Hello,
    printed.map(lambda text: text[:LONGEST_NAME]),
    st.lists(addresses, max_size=4).map(tuple),
    st.lists(addresses, max_size=MOST_PEOPLE).map(tuple),
)
messages = hellos | st.builds(Say, printed.map(lambda text: text[:LONGEST_TEXT]))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=10,
)


@given(messages)
def test_a_message_survives_the_wire(message: Hello | Say) -> None:
    framed = encode(message)
    assert int.from_bytes(framed[:2]) == len(framed) - 2
    assert decode(framed[2:]) == message


@given(st.binary(max_size=300) | anything.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_a_message_or_a_value_error(body: bytes) -> None:
    try:
        message = decode(body)
    except ValueError:
        return
    assert decode(encode(message)[2:]) == message


@given(st.sampled_from(["hello", "say"]), st.text(min_size=1, max_size=LONGEST_NAME))
def test_what_is_shown_steers_no_terminal(kind: str, text: str) -> None:
    message = decode(json.dumps({"type": kind, "name" if kind == "hello" else "text": text}).encode())
    shown = message.name if isinstance(message, Hello) else message.text
    assert shown
    assert shown.isprintable()


@pytest.mark.parametrize(
    "body",
    [
        {"type": "hello", "name": "a" * (LONGEST_NAME + 1)},
        {"type": "hello", "name": ""},
        {"type": "hello", "name": "a", "people": ["/x"] * (MOST_PEOPLE + 1)},
        {"type": "hello", "name": "a", "at": ["x" * 401]},
        {"type": "say", "text": "a" * (LONGEST_TEXT + 1)},
        {"type": "say"},
        {"type": "shout", "text": "a"},
    ],
    ids=lambda body: "-".join(body),
)
def test_what_is_too_large_or_of_another_kind_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode(json.dumps(body).encode())
