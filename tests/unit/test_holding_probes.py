"""The look of each minute at the relays that we hold: who lives is up, who is gone is away; neither is a success."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.relays import relay_id
from towpath.addresses import peer_id_to_text
from towpath.client.guide import AWAY, CONNECTED, KEPT
from towpath.client.holding import Holding
from towpath.discovery.candidates import Measured
from towpath.discovery.outcomes import Outcome, noted

NOW = 1_800_000_000.0


class Told:
    """A guide that remembers."""

    def __init__(self) -> None:
        self.notes: list[tuple[bytes, str, float | None]] = []

    def note(self, of: bytes, outcome: str, rtt_s: float | None = None) -> None:
        self.notes.append((of, outcome, rtt_s))


class Held(SimpleNamespace):
    """A reservation, as far as the look goes."""

    __hash__ = object.__hash__


def held(number: int, state: str = "active", **session: Any) -> Any:
    made = SimpleNamespace(closed=False, rtt_s=0.03, **session) if state == "active" else None
    return Held(relay_id=peer_id_to_text(relay_id(number)), state=state, session=made, expires_at=100.0)


@pytest.fixture
async def watched() -> tuple[Holding, Told, list[Any]]:
    guide, seats = Told(), [held(1), held(2), held(3, "lost"), held(4, "connecting")]
    holding = Holding(guide, None, None, lambda: seats, lambda work: None)  # type: ignore[arg-type]
    return holding, guide, seats


async def test_each_minute_who_lives_is_told_with_its_distance_and_who_is_gone_is_away(
    watched: tuple[Holding, Told, list[Any]],
) -> None:
    holding, guide, _ = watched
    begun = holding._probe_at - 60
    holding._probe(begun)
    assert guide.notes == []
    holding._probe(begun + 80)
    found = [(relay_id(1), CONNECTED, 0.03), (relay_id(2), CONNECTED, 0.03), (relay_id(3), AWAY, None)]
    assert guide.notes == found
    # Not all nodes look at one moment, and none more often than it should.
    assert begun + 80 + 48 <= holding._probe_at <= begun + 80 + 72


async def test_a_reservation_that_was_refreshed_is_told_and_so_is_one_that_stands(
    watched: tuple[Holding, Told, list[Any]],
) -> None:
    holding, guide, seats = watched
    holding._probe(holding._probe_at)
    seats[0].expires_at = 200.0
    guide.notes.clear()
    holding._probe(holding._probe_at)
    assert [outcome for _, outcome, _ in guide.notes] == [KEPT, CONNECTED, AWAY]


def test_standing_for_an_hour_wins_nothing_back_that_dropped_circuits_lost() -> None:
    own = noted(Measured(), Outcome.SERVED, NOW)
    for _ in range(3):
        own = noted(own, Outcome.FAILED, NOW + 1)
    stood = own
    for minute in range(60):
        stood = noted(stood, Outcome.CONNECTED, NOW + 60 * minute, rtt_ms=20.0)
    assert (stood.health, stood.failing) == (own.health, own.failing)
    assert stood.tries == pytest.approx(own.tries, rel=0.01)
    assert stood.uptime > own.uptime


def test_a_refreshed_reservation_counts_as_served_and_wins_no_health_back() -> None:
    own = noted(noted(Measured(), Outcome.SERVED, NOW), Outcome.FAILED, NOW + 1)
    kept = noted(own, Outcome.KEPT, NOW + 2)
    assert kept.successful == pytest.approx(own.successful + 1)
    assert (kept.health, kept.failing, kept.failed_at) == (own.health, own.failing, own.failed_at)


def test_being_away_costs_uptime_only_and_only_when_others_answer() -> None:
    own = noted(Measured(), Outcome.SERVED, NOW)
    assert noted(own, Outcome.AWAY, NOW + 60, blame=False) == own
    away = noted(own, Outcome.AWAY, NOW + 60)
    assert away.uptime < own.uptime
    assert (away.health, away.failing, away.failed_at) == (own.health, own.failing, own.failed_at)
