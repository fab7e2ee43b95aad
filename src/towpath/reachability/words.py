"""What is known of this node's reachability, in one sentence with advice. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from towpath.reachability.policy import Candidate, Origin, State, Vote

__all__ = ["Finding", "Known", "sentence"]


class Finding(NamedTuple):
    """What came of asking about one address; `reached` is None when the servers did not say."""

    candidate: Candidate
    reached: bool | None
    votes: tuple[Vote, ...]
    at: float = 0.0
    """When (monotonic)."""


class Known(NamedTuple):
    """All that the sentence says."""

    listens: bool
    announced: Sequence[str]
    findings: Sequence[Finding]
    servers: int
    """That could be asked."""
    mapping: str | None
    """What the router said; None: it is not asked."""
    second_router: str | None = None
    """The address of a router that forwards, and has no public address itself."""
    private: Sequence[str] = ()
    """Addresses of this machine that are not the Internet's."""
    ports: Sequence[int] = ()


def sentence(known: Known, state: State) -> str:
    """What is known, and what to do."""
    if not known.listens:
        return (
            "This node listens nowhere, so there is nothing to reach: it meets others through relays. "
            "`towpath mode cooperative` makes it a relay."
        )
    if known.announced:
        return f"Reachable at {_list(known.announced)}, as network.announce says." + _contradiction(known)
    confirmed = [finding for finding in known.findings if finding.reached]
    if confirmed:
        return f"Reachable at {_list([_text(f) for f in confirmed])}: {_count(confirmed[0])}."
    refuted = [finding for finding in known.findings if finding.reached is False]
    if refuted and state is State.UNREACHABLE:
        return f"Not reachable at {_list([_text(f) for f in refuted])}: {_count(refuted[0])}. {_advice(known)}"
    if known.findings:
        at = _list([_text(finding) for finding in known.findings])
        return f"Not known whether others reach {at}: {_nobody(known)}"
    if known.private:
        return (
            f"No public address is known of this node; its own, {_list(known.private)}, leads nowhere from outside. "
            f"{_advice(known)}"
        )
    return f"No public address is known of this node. {_advice(known)}"


def _text(finding: Finding) -> str:
    ip, port = finding.candidate.place
    return f"/ip{ip.version}/{ip}/tcp/{port}"


def _list(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _count(finding: Finding) -> str:
    said = [vote.reached for vote in finding.votes if vote.reached is not None]
    if len(said) == 1:
        return (
            "the one server that was asked connected" if said[0] else "the one server that was asked could not connect"
        )
    if finding.reached:
        return f"{sum(said)} of {len(said)} servers connected"
    return f"{len(said) - sum(said)} of {len(said)} servers could not connect"


def _contradiction(known: Known) -> str:
    refuted = [finding for finding in known.findings if finding.reached is False]
    if not refuted:
        return ""
    return f" But of {_text(refuted[0])}, {_count(refuted[0])}: check that the port is open and forwarded."


def _nobody(known: Known) -> str:
    if known.servers == 0:
        return (
            "there is nobody to ask yet. Other relays answer; name one in discovery.bootstrap, or, if you know that "
            "the address is right, put it into network.announce."
        )
    return "the servers that were asked did not agree, or did not say. It is asked again later."


def _advice(known: Known) -> str:
    word = "TCP port" if len(known.ports) == 1 else "TCP ports"
    ports = f"{word} {_list([str(port) for port in known.ports])}" if known.ports else "a port"
    if known.second_router is not None:
        return (
            f"The router forwards the port, but its own address, {known.second_router}, is behind a second router, "
            "perhaps the provider's: forward the port there, too, or ask the provider for a public address or IPv6."
        )
    mapped = any(finding.candidate.origin is Origin.MAPPED for finding in known.findings)
    if mapped:
        return "The router says that it forwards the port; a second router before it, or the provider, does not."
    router = f" ({known.mapping})" if known.mapping else ""
    return (
        f"Let the router forward {ports} to this machine{router}, or open it in the firewall; "
        "until then relay from elsewhere, as nobody will find this node."
    )
