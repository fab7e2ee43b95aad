"""What a route of the control API is, what it may ask of a node, and how it says that a request is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

from towpath.control.schemas import Schema
from towpath.settings import RelayMode, Settings

__all__ = [
    "SOURCE",
    "Accounts",
    "Asked",
    "Body",
    "Controlled",
    "Events",
    "Hand",
    "Json",
    "NotUnderstood",
    "Parameter",
    "Reputed",
    "Route",
    "WrongRequest",
]

Json = Mapping[str, Any] | Sequence[Mapping[str, Any]]
SOURCE: Final = "the control API"
"""How settings that were changed here say where they come from."""


class Events(Protocol):
    """What happened, and what happens."""

    def subscribe(self, after: int | None = None) -> AsyncIterator[dict[str, Any]]:
        """See EventHub."""


class Hand(Protocol):
    """What the owner does by hand."""

    def circuit_changes(self, run: int, after: int) -> dict[str, Any]:
        """See ByHand."""

    def end_circuit(self, number: int) -> bool:
        """See ByHand."""

    async def block(self, peer: str, *, source: str) -> dict[str, Any]:
        """See ByHand."""

    async def log(self, limit: int) -> list[dict[str, Any]]:
        """See ByHand."""

    async def diagnose(self) -> dict[str, Any]:
        """See ByHand."""


class Reputed(Protocol):
    """What is known of reputations."""

    def facts(self) -> dict[str, Any]:
        """See Reputation."""

    def of_peer(self, peer: str) -> dict[str, Any]:
        """See Reputation."""

    def independence(self) -> dict[str, Any]:
        """See Reputation."""


class Accounts(Protocol):
    """What the node knows of credits."""

    def rows(self) -> dict[str, Any]:
        """See Credits."""

    def of_peer(self, name: str) -> dict[str, Any]:
        """See Credits."""


class Controlled(Protocol):
    """What the control API needs of a Node."""

    @property
    def by_hand(self) -> Hand:
        """See Node."""

    @property
    def reputation(self) -> Reputed:
        """See Node."""

    @property
    def credits(self) -> Accounts:
        """See Node."""

    @property
    def settings(self) -> Settings:
        """See Node."""

    @property
    def events(self) -> Events:
        """See Node."""

    def status(self) -> dict[str, Any]:
        """See Node."""

    def data_plane(self) -> dict[str, Any]:
        """See Node."""

    def circuits(self, *, full: bool = False) -> list[dict[str, Any]]:
        """See Node."""

    def reservations(self) -> list[dict[str, Any]]:
        """See Node."""

    def peers(self) -> list[dict[str, Any]]:
        """See Node."""

    def relays(self) -> list[dict[str, Any]]:
        """See Node."""

    def limits(self) -> dict[str, Any]:
        """See Node."""

    async def traffic(self, window: str) -> Sequence[Mapping[str, Any]]:
        """See Node."""

    async def pause(self, seconds: float | None = None) -> None:
        """See Node."""

    async def resume(self) -> None:
        """See Node."""

    async def check(self) -> dict[str, Any]:
        """See Node."""

    async def set_relay_mode(self, mode: RelayMode) -> object:
        """See Node."""

    async def change_settings(
        self, changes: Mapping[str, object], *, source: str = ..., persist: bool = ...
    ) -> dict[str, Any]:
        """See Node."""


class WrongRequest(Exception):
    """The request asks for something that is not allowed; `str()` of it is a sentence."""


class NotUnderstood(WrongRequest):
    """The request is not one: it is no JSON, or has a field or parameter that nobody knows."""


class Asked(NamedTuple):
    """What a request says: query and body are checked against the route's table before."""

    query: Mapping[str, str]
    body: Any
    path: Mapping[str, str] = {}
    """The parts of the path that stand in braces in the route's; any text without a slash."""


class Parameter(NamedTuple):
    """A field of the query: one of some words, or a whole number."""

    schema: Schema
    default: str
    """What is taken when it is left out."""


class Body(NamedTuple):
    """What a request carries: JSON of a msgspec type. An empty body stands for `{}`."""

    kind: Any
    schema: Schema


class Route(NamedTuple):
    """One method of one path."""

    method: Literal["GET", "POST", "PATCH"]
    path: str
    """A part of it may be any: `/v1/ledger/{peer}`."""
    summary: str
    answer: Callable[[Controlled, Asked], Awaitable[Json]]
    schema: Schema
    query: Mapping[str, Parameter] = {}
    body: Body | None = None
