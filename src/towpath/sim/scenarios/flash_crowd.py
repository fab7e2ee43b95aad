"""Everybody wants something within ten minutes, and the relays are full: who is served first, and is everybody served?

Ten days as usual, in which volunteers earn credit; then each user sends a file. Volunteers lifted their quotas, so
that it is their rate that runs out. Looked at are three groups: those who volunteer, those who do not, and newcomers
who install the program in that hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from towpath.settings import Settings
from towpath.sim.attacks.figures import Chart, Figure, median
from towpath.sim.models import DAY_S, HOUR_S
from towpath.sim.pipe import Flow
from towpath.sim.scenario import Judged, Part, Ran, Scenario, column
from towpath.sim.users import User
from towpath.sim.world import World

__all__ = ["SCENARIO"]

CROWD: Final = 10 * DAY_S + 17 * HOUR_S
WITHIN_S: Final = 600.0
FILE: Final = 60_000_000
_DAYS: Final = 11.0
_VOLUNTEERS: Final = 0.07
_NEWCOMERS: Final = 0.05
_AGAIN_S: Final = 15.0
"""After a refusal it is tried again."""
_UNTIL_S: Final = 2 * HOUR_S
GROUPS: Final = ("contributors", "others", "newcomers")


class _Crowd:
    """Who wants what when, and how long it took from the wish to the last byte."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.group: dict[int, str] = {}
        self.wished: dict[int, float] = {}
        self.took: dict[str, list[float]] = {name: [] for name in GROUPS}
        self.wanted = dict.fromkeys(GROUPS, 0)
        self.refused = dict.fromkeys(GROUPS, 0)
        self.served = dict.fromkeys(GROUPS, 0)
        world.on_end.append(self._ended)

    def begin(self, users: Sequence[User], newcomers: Sequence[User]) -> None:
        """Everybody's wish, at a moment of these ten minutes."""
        rng = self.world.engine.rng
        for user in [*users, *newcomers]:
            self.group[user.index] = (
                "newcomers" if user in newcomers else "contributors" if user.relay is not None else "others"
            )
        for user in [*users, *newcomers]:
            # Whoever is asked for something has to be there.
            user.begin()
            self.world.engine.after(rng.random() * WITHIN_S, self._wish, user)

    def _wish(self, user: User) -> None:
        self.wanted[self.group[user.index]] += 1
        self.wished[user.index] = self.world.engine.now
        self._try(user, 0)

    def _try(self, user: User, tries: int) -> None:
        world, group = self.world, self.group[user.index]
        # Who wants something does not go before it has it.
        user.begin()
        peers = [peer for peer in user.contacts if peer.online]
        flow = None
        if peers:
            flow = world.circuits.open(user, peers[int(world.engine.rng.random() * len(peers))], FILE)
        if flow is not None:
            self.served[group] += 1
            return
        self.refused[group] += not tries
        if world.engine.now - self.wished[user.index] < _UNTIL_S:
            world.engine.after(_AGAIN_S, self._try, user, tries + 1)

    def _ended(self, flow: Flow, finished: bool) -> None:
        began = self.wished.get(flow.src.index)
        if began is not None and finished and flow.total == FILE:
            self.took[self.group[flow.src.index]].append(self.world.engine.now - began)

    def note(self) -> None:
        """Into the world's notes."""
        self.world.notes["groups"] = {
            name: {
                "wanted": self.wanted[name],
                "served": self.served[name],
                "finished": len(self.took[name]),
                "refused_at_first": self.refused[name],
                "median_s": round(median(self.took[name]), 2) if self.took[name] else None,
            }
            for name in GROUPS
        }


def _parts(nodes: int, seed: int) -> Iterator[Part]:
    world = World(seed, _DAYS)
    world.add_relay(world.networks.apart(world.engine.rng), bootstrap=True).start()
    lifted = {"relay.mode": "cooperative", "relay.max_bandwidth_per_hour": "unlimited"}
    lifted |= {"relay.max_bandwidth_per_day": "unlimited", "relay.max_bandwidth_per_month": "unlimited"}
    settings = Settings.load(lifted).relay
    users = world.add_users(nodes)
    willing = [user for user in users if world.may_volunteer(user)]
    for user in willing[: max(8, round(nodes * _VOLUNTEERS))]:
        world.volunteer(user, settings)
    crowd = _Crowd(world)

    def come() -> None:
        for relay in world.bootstrap:
            relay.retire()
        new = [world.add_user() for _ in range(max(1, round(nodes * _NEWCOMERS)))]
        for user in new:
            user.contacts = tuple(world.engine.rng.choices(users, k=world.model.contacts))
        crowd.begin(users, new)

    world.engine.at(world.begin + CROWD, come)
    world.engine.at(world.ends - 1.0, crowd.note)
    yield Part("crowd", world, HOUR_S / 2)


def _judge(ran: Sequence[Ran]) -> Judged:
    rows, groups = ran[0].rows, ran[0].notes.get("groups", {})
    sentences, figures = [], []
    for name, facts in groups.items():
        if facts["wanted"]:
            took = "" if facts["median_s"] is None else f", half of them within {facts['median_s']:.0f} s"
            sentences.append(
                f"{name}: {facts['finished']} of {facts['wanted']} had their file{took}; "
                f"{facts['refused_at_first']} were refused at first"
            )
    mine, others = (groups.get(name, {}).get("median_s") for name in ("contributors", "others"))
    if mine and others:
        figures.append(Figure("contributors' time, of the others'", mine / others, at_most=1.0))
    served = sum(facts["finished"] for facts in groups.values())
    wanted = sum(facts["wanted"] for facts in groups.values())
    if wanted:
        figures.append(Figure("everybody had the file in the end", 100 * served / wanted, at_least=95.0, unit="%"))
    fresh = groups.get("newcomers", {})
    if fresh.get("wanted"):
        part = 100 * fresh["finished"] / fresh["wanted"]
        figures.append(Figure("newcomers too", part, at_least=90.0, unit="%"))
    some = [row for row in rows if row["day"] > 10.0]
    lines = {"of the volunteers' rate": column(some, "load", 100.0), "circuits made": column(some, "success", 100.0)}
    return Judged(sentences, figures, [("crowd", Chart("A flash crowd on day 10", "day", "%", lines))])


SCENARIO: Final = Scenario("flash-crowd", "everybody wants something at once", 3000, _parts, _judge)
