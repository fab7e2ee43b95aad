"""The page's proofs: good for one token, one run, one port and one question; and nobody is known by anything else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from towpath.web.proof import QUESTION_MAX, RUN, Prover, session
from towpath.web.ticket import NONCE, issue

TOKENS = st.text("abcXYZ019-_", min_size=43, max_size=43)
PORTS = st.integers(1, 65535)
RUNS = st.binary(min_size=RUN, max_size=RUN)
NONCES = st.binary(min_size=16, max_size=16).map(bytes.hex)
PROVERS = st.tuples(TOKENS, PORTS, RUNS)


@given(PROVERS, PROVERS, NONCES, NONCES)
def test_a_proof_is_of_one_node_in_one_run_for_one_question(
    one: tuple[str, int, bytes], other: tuple[str, int, bytes], nonce: str, another: str
) -> None:
    first, second = Prover(*one).answer(nonce), Prover(*other).answer(another)
    assert first is not None
    assert second is not None
    assert (first["proof"] == second["proof"]) is ((one, nonce) == (other, another))


@given(PROVERS, PROVERS)
def test_what_a_page_says_is_good_for_one_node_in_one_run(
    one: tuple[str, int, bytes], other: tuple[str, int, bytes]
) -> None:
    token, port, run = one
    said = session(token, run.hex(), port)
    assert Prover(*one).knows(said)
    assert Prover(*one).knows(token)
    assert Prover(*other).knows(said) is (one == other)
    assert Prover(*other).knows(token) is (token == other[0])


@given(PROVERS, NONCES, st.text(max_size=100))
def test_nobody_is_known_by_what_everybody_may_hear(node: tuple[str, int, bytes], nonce: str, text: str) -> None:
    prover = Prover(*node)
    answer = prover.answer(nonce)
    assert answer is not None
    heard = (*map(str, answer.values()), nonce, text)
    assert not any(prover.knows(said) for said in heard if said != node[0])


@given(PROVERS, NONCES, st.integers(0, 10**11), st.binary(min_size=NONCE, max_size=NONCE))
def test_a_ticket_is_answered_by_its_own_secret(
    node: tuple[str, int, bytes], nonce: str, now: int, random: bytes
) -> None:
    said, _, secret = issue(node[0], now, random).rpartition(".")
    question = f"{nonce} {said}"
    assert len(question) <= QUESTION_MAX
    assert Prover(*node).answer(question) == Prover(secret, *node[1:]).answer(nonce)


@given(PROVERS, st.text(max_size=200))
def test_nothing_else_is_a_question(node: tuple[str, int, bytes], text: str) -> None:
    assert Prover(*node).answer(text) is None
