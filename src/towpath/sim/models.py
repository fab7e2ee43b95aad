"""People, machines and lines: what a simulated network is made of. Every number says where it comes from.

The sources, as docs/simulator.md lists them:
[P] Protocol Labs, RFM 2 "Uptime and Churn", 2022: of IPFS's DHT servers 50% stay for about 2 h or less, 80% for 8 h or
    less, 10.5% were never seen offline in a week.
[Z] Zhang, Iosup, Pouwelse, Epema, "The Peer-to-Peer Trace Archive", TU Delft PDS-2009: Weibull shapes of BitTorrent
    sessions 0.43–0.82, most of them 0.59–0.69.
[H] Halkes, Pouwelse, "UDP NAT and Firewall Puncturing in the Wild", IFIP Networking 2011: about 64% of peers behind a
    NAT or firewall.
[O] Ookla Speedtest Global Index, September 2020: fixed lines 85.7 Mbit/s down, 45.7 up, 21 ms; mobile 36.0,
    11.2, 40 ms.
[Q] Quan, Heidemann, Pradkin, "When the Internet Sleeps", IMC 2014: use is highest from noon to midnight, lowest shortly
    after local dawn.
[V] Dabek, Cox, Kaashoek, Morris, "Vivaldi", SIGCOMM 2004: a plane and a height above it (the access line) predict round
    trips well.
"""

from __future__ import annotations

import math
import random
from bisect import bisect
from enum import IntEnum
from typing import Final, NamedTuple

__all__ = [
    "DAY_S",
    "HOUR_S",
    "Kind",
    "Line",
    "Lines",
    "Model",
    "Networks",
    "Place",
    "Places",
    "Sessions",
    "Sizes",
    "activity",
    "rtt_s",
]

HOUR_S: Final = 3600.0
DAY_S: Final = 86400.0
_MBIT: Final = 125_000.0


class Kind(IntEnum):
    """How a user is connected."""

    DESKTOP = 0
    MOBILE = 1
    """Short sessions, a slow line, another network address each time; never relays."""
    ALWAYS_ON = 2
    """A small machine at home that is hardly ever off."""


# --- how long somebody stays --------------------------------------------------------------------


class Sessions(NamedTuple):
    """Weibull: most are short, a few very long."""

    shape: float
    scale_s: float

    def draw(self, rng: random.Random) -> float:
        """Seconds, a minute at least."""
        return max(60.0, rng.weibullvariate(self.scale_s, self.shape))

    def mean(self) -> float:
        """Seconds on average."""
        return self.scale_s * math.gamma(1 + 1 / self.shape)


def _weibull(part_a: float, within_a: float, part_b: float, within_b: float) -> Sessions:
    """The one of which these parts of the sessions are this short."""
    a, b = -math.log(1 - part_a), -math.log(1 - part_b)
    shape = math.log(b / a) / math.log(within_b / within_a)
    return Sessions(shape, within_a / a ** (1 / shape))


DESKTOP_SESSIONS: Final = _weibull(0.5, 2 * HOUR_S, 0.8, 8 * HOUR_S)
"""[P]; its shape, 0.61, is in the middle of what [Z] found."""
MOBILE_SESSIONS: Final = Sessions(0.6, 900.0)
"""An assumption: the same form, a quarter of an hour."""
ALWAYS_ON_SESSIONS: Final = Sessions(0.6, 7 * DAY_S)
"""An assumption: restarts about every ten days."""
ALWAYS_ON_OFF_S: Final = 300.0
"""How long such a restart takes, on average."""


# --- day and night ------------------------------------------------------------------------------

_TROUGH_HOUR: Final = 6.0


def activity(local_hour: float, swing: float) -> float:
    """How busy people are at an hour of their day, 1 on average: least at six in the morning, most twelve hours later.

    [Q] for the form; `swing` 0…1 is how much of it sleeps.
    """
    return 1.0 - swing * math.cos((local_hour - _TROUGH_HOUR) * math.pi / 12)


# --- lines --------------------------------------------------------------------------------------


class Line(NamedTuple):
    """Bytes per second, and the milliseconds that the line itself takes of a round trip."""

    down: float
    up: float
    latency_ms: float


class Lines(NamedTuple):
    """Log-normal around a mean: few lines are much faster than most."""

    down_mbit: float
    up_mbit: float
    latency_ms: float
    spread: float = 0.9

    def draw(self, rng: random.Random) -> Line:
        """One line; up and down are fast together."""
        luck = math.exp(rng.gauss(0.0, self.spread) - self.spread**2 / 2)
        latency = self.latency_ms * math.exp(rng.gauss(0.0, 0.4) - 0.08)
        return Line(max(0.5, self.down_mbit * luck) * _MBIT, max(0.25, self.up_mbit * luck) * _MBIT, latency)


HOME_LINES: Final = Lines(85.7, 45.7, 10.0)
"""[O]; half of its latency, which was to a server near by, is the line's."""
MOBILE_LINES: Final = Lines(36.0, 11.2, 30.0)
"""[O], likewise."""
SERVER_LINE: Final = Line(1000 * _MBIT, 1000 * _MBIT, 1.0)
"""A rented machine: 1 Gbit/s both ways."""


# --- where it is --------------------------------------------------------------------------------


class Place(NamedTuple):
    """A point on the plane of [V], in milliseconds, and how far the local time is from UTC."""

    x: float
    y: float
    zone_h: float


class Places(NamedTuple):
    """Clusters of people: weight, centre and radius in milliseconds of round trip, and the time zone."""

    clusters: tuple[tuple[float, float, float, float, float], ...]

    def draw(self, rng: random.Random) -> Place:
        """Somewhere in one of them."""
        ((_, x, y, radius, zone),) = rng.choices(self.clusters, [cluster[0] for cluster in self.clusters])
        return Place(rng.gauss(x, radius), rng.gauss(y, radius), zone)


WORLD: Final = Places(
    (
        (0.40, 0.0, 0.0, 12.0, 1.0),
        (0.30, 95.0, 0.0, 20.0, -6.0),
        (0.22, -130.0, 90.0, 25.0, 8.0),
        (0.08, 60, 120, 20, -3),
    )
)
"""Europe, North America, East Asia, South America; round trips between them as they are usually measured."""


def rtt_s(a: Place, a_ms: float, b: Place, b_ms: float) -> float:
    """The round trip between two ends with these lines, in seconds [V]."""
    return (math.hypot(a.x - b.x, a.y - b.y) + a_ms + b_ms) / 1000.0


class Networks:
    """IPv4 addresses of homes: a few large providers, many small ones; everybody in a /24 of one of their /16s."""

    __slots__ = ("_cumulated", "_sixteens")

    def __init__(self, rng: random.Random, number: int = 2000) -> None:
        first = [n for n in range(11, 224) if n not in (100, 127, 169, 172, 192, 198, 203)]
        seen = {(rng.choice(first), rng.randrange(256)): None for _ in range(number)}
        self._sixteens = list(seen)
        total = 0.0
        self._cumulated = []
        for rank in range(1, len(self._sixteens) + 1):
            total += 1.0 / (rank + 10)
            self._cumulated.append(total)

    def draw(self, rng: random.Random) -> bytes:
        """Four bytes."""
        # As `rng.choices` with cumulated weights does it for many.
        a, b = self._sixteens[bisect(self._cumulated, rng.random() * self._cumulated[-1])]
        return bytes((a, b, rng.randrange(256), rng.randrange(1, 255)))

    def apart(self, rng: random.Random) -> bytes:
        """Four bytes, every provider alike: what somebody gets who looks for many networks."""
        a, b = rng.choice(self._sixteens)
        return bytes((a, b, rng.randrange(256), rng.randrange(1, 255)))


# --- what people do -----------------------------------------------------------------------------


class Sizes(NamedTuple):
    """A mixture of log-normals."""

    parts: tuple[tuple[float, float, float, float], ...]
    """Weight, median bytes, spread, and seconds over which it is made (0: as fast as it goes)."""

    def draw(self, rng: random.Random) -> tuple[int, float]:
        """What one circuit carries: bytes, and bytes per second at which its ends make them (0: as fast as it goes)."""
        at = rng.random()
        for part in self.parts:
            at -= part[0]
            if at <= 0:
                break
        _, median, spread, seconds = part
        n = max(1000, int(median * math.exp(rng.gauss(0.0, spread))))
        return n, 0.0 if not seconds else n / (seconds * (0.2 + 1.6 * rng.random()))


USUAL_SIZES: Final = Sizes(
    ((0.55, 300e3, 1.2, 900.0), (0.30, 5e6, 1.2, 0.0), (0.10, 40e6, 1.3, 0.0), (0.05, 30e6, 0.8, 1200.0))
)
"""Assumptions: a chat or a shell of a quarter of an hour, a picture or document, a file, a call with video; about 16 MB
each on average."""


class Model(NamedTuple):
    """Everything that a scenario may set differently."""

    kinds: tuple[float, float, float] = (0.53, 0.30, 0.17)
    """Shares of Kind: 17% of those that [P] ever reached were always on; three in ten telephones are an assumption."""
    behind_nat: float = 0.64
    """[H]; everybody on a mobile line is."""
    mapped: float = 0.4
    """How many of them get a port from their router; an assumption."""
    circuits_a_day: float = 4.4
    swing: float = 0.7
    sizes: Sizes = USUAL_SIZES
    contacts: int = 6
    """Whom one user talks to."""
    silent_deaths: float = 0.1
    """How many relays vanish without a word (a line that breaks) instead of saying goodbye; an assumption."""
    desktop: Sessions = DESKTOP_SESSIONS
    mobile: Sessions = MOBILE_SESSIONS
    always_on: Sessions = ALWAYS_ON_SESSIONS
    always_on_off_s: float = ALWAYS_ON_OFF_S
    home_lines: Lines = HOME_LINES
    mobile_lines: Lines = MOBILE_LINES
    server_line: Line = SERVER_LINE
    places: Places = WORLD

    def sessions(self, kind: Kind) -> Sessions:
        """How long users of this kind stay."""
        return (self.desktop, self.mobile, self.always_on)[kind]
