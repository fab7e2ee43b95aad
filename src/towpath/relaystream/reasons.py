"""Why a relay refuses or moves out: one table of codes, and the sentences that people read. Pure."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from towpath.relaystream.messages import Allowance, Moving, Refused

__all__ = [
    "Answer",
    "Reason",
    "Request",
    "allowance_sentences",
    "answer_sentence",
    "in_words",
    "moving_sentence",
    "refusal_sentence",
    "size_in_words",
]


class Request(enum.IntEnum):
    """What was asked of the relay."""

    RESERVE = 0
    CONNECT = 1


class Reason(enum.IntEnum):
    """Why not. A receiver takes any code; one that it does not know is told as a number."""

    RESERVATIONS_FULL = 1
    """`have` of `limit` reservations are held."""
    NETWORK_FULL = 2
    """`have` of `limit` reservations are held from the asker's IPv4 address or IPv6 /64."""
    CIRCUITS_FULL = 3
    """`have` of `limit` circuits are open."""
    PEER_FULL = 4
    """`have` of `limit` circuits of one of the two peers are open."""
    QUOTA = 5
    """`have` bytes are left of the `period`'s `limit`; `again`: when that period ends."""
    RATE = 6
    """The `limit` in bytes per second is used up by the circuits that are open."""
    PAUSED = 7
    """The owner paused the relay; `again`: until then."""
    MODE = 8
    """The owner switched relay mode off."""
    SCHEDULE = 9
    """It does not relay at this hour; `again`: when it does."""
    DENIED = 10
    """The owner's lists do not let this peer in."""
    RESTING = 11
    """The owner's machine or line is wanted for something else. What, is not told."""
    STOPPING = 12
    """The node is about to end."""
    FREE_TIER_NETWORK = 13
    """Credits: the free tier of the asker's IPv4 /24 or IPv6 /56 is used up; `have` bytes of its `limit` are there at
    `again`."""
    FREE_TIER_ACCOUNT = 14
    """The same of the asker's account."""
    FREE_SEATS = 15
    """Credits: `have` circuits (reservations) of the asker's network are there, which is its share of the relay's
    `limit`."""
    OTHER_END = 16
    """Credits: the peer at the other end has neither credit nor free tier left; `again` as in 13."""
    QUOTA_PROMISED = 17
    """Credits: of what is left of the quota the asker's share is promised to open circuits; `again` as in 5."""


class Answer(enum.IntEnum):
    """What became of a look-up, or of a record that was handed over. A receiver takes any code."""

    DONE = 0
    BUSY = 1
    """Too many look-ups at once, or too many from this client."""
    UNABLE = 2
    """It has nobody to ask."""
    NOT_VALID = 3
    """The record is none, or not of this client, or names no circuit at this relay."""
    NO_RESERVATION = 4
    """The client holds no reservation here."""
    OUTDATED = 5
    """The relay has a newer record of this client."""


_ANSWERS: dict[int, str] = {
    Answer.BUSY: "it answers no more look-ups for now",
    Answer.UNABLE: "it cannot look anything up now",
    Answer.NOT_VALID: "it does not take the record for a valid one that names it; check both clocks",
    Answer.NO_RESERVATION: "it holds no reservation of ours",
    Answer.OUTDATED: "it has a newer record of ours",
}
_PERIODS = {"hour": "hourly", "day": "daily", "month": "monthly"}
_ELSEWHERE = "use another relay"
_CREDITS = (Reason.FREE_TIER_NETWORK, Reason.FREE_TIER_ACCOUNT, Reason.FREE_SEATS, Reason.OTHER_END)


def refusal_sentence(refused: Refused) -> str:
    """A clause about the relay ("it …") and what to do."""
    if refused.code in _CREDITS:
        return f"{_credits(refused)}; {_credits_advice(refused.code)}"
    told = _refusal(refused)
    back = "" if refused.again is None else f", and asking again makes sense in {in_words(refused.again)}"
    if refused.code == Reason.QUOTA and refused.again is not None:
        back = f", until it is full again in {in_words(refused.again)}"
    advice = f"ask its owner, or {_ELSEWHERE}" if refused.code == Reason.DENIED else _ELSEWHERE
    return f"{told}{back}; {advice}"


def _refusal(refused: Refused) -> str:
    counted = "" if refused.have is None or refused.limit is None else f"{refused.have} of {refused.limit} "
    match refused.code:
        case Reason.RESERVATIONS_FULL:
            return f"it holds {counted or 'all its '}reservations"
        case Reason.NETWORK_FULL:
            return f"{counted or 'all '}reservations that your network may have there are held"
        case Reason.CIRCUITS_FULL:
            return f"it carries {counted or 'all its '}circuits"
        case Reason.PEER_FULL:
            return f"{counted or 'all '}circuits that one of the two peers may have there are open"
        case Reason.QUOTA:
            return _quota(refused)
        case Reason.QUOTA_PROMISED:
            return "your share of what is left of its quota is promised to circuits that are open"
        case Reason.RATE:
            limit = "" if refused.limit is None else f" of {size_in_words(refused.limit)}/s"
            return f"its rate{limit} is used up"
        case _:
            return _state(refused.code)


def _quota(refused: Refused) -> str:
    name = _PERIODS.get(refused.period or "", "")
    quota = f"its {name} quota" if name else "its quota"
    if refused.have is None or not refused.limit:
        return f"{quota} is nearly used up"
    return f"{refused.have * 100 // refused.limit}% of {quota} of {size_in_words(refused.limit)} is left"


def _credits(refused: Refused) -> str:
    if refused.code == Reason.FREE_SEATS:
        what = "reservations" if refused.request == Request.RESERVE else "circuits"
        counted = "" if refused.have is None or refused.limit is None else f" ({refused.have} of {refused.limit})"
        return f"it is crowded, and your network has its share of the {what}{counted}"
    whose = {
        Reason.FREE_TIER_NETWORK: "its free tier for your network is used up",
        Reason.FREE_TIER_ACCOUNT: "its free tier for your account is used up",
    }.get(Reason(refused.code), "the other peer has used up its free tier there")
    if refused.again is None:
        return f"{whose}, and does not refill"
    amount = "" if refused.have is None else f" to {size_in_words(refused.have)}"
    return f"{whose}, and refills{amount} in {in_words(refused.again)}"


def _credits_advice(code: int) -> str:
    if code == Reason.OTHER_END:
        return f"it goes on earlier when that peer relays for others, or {_ELSEWHERE}"
    return f"relaying for others raises it (towpath mode cooperative), or {_ELSEWHERE}"


def _state(code: int) -> str:
    match code:
        case Reason.QUOTA:
            return "its quota is nearly used up"
        case Reason.PAUSED:
            return "its owner paused it"
        case Reason.MODE:
            return "its owner switched relaying off"
        case Reason.SCHEDULE:
            return "it does not relay at this hour"
        case Reason.DENIED:
            return "its owner does not let this peer in"
        case Reason.RESTING:
            return "it leaves the line to its owner for now"
        case Reason.STOPPING:
            return "it is about to stop"
        case _:
            return f"it has a reason that this version does not know (code {code})"


def answer_sentence(code: int) -> str:
    """A clause about a relay ("it …") that did not look up, or did not take, what it was asked to."""
    return _ANSWERS.get(code, f"it has a reason that this version does not know (code {code})")


def moving_sentence(moving: Moving) -> str:
    """A clause about a relay that moves out ("it …"), without advice."""
    told = _state(moving.code)
    if moving.after is not None:
        told += f", and ends what is open {'now' if moving.after == 0 else f'in {in_words(moving.after)}'}"
    if moving.again is not None:
        told += f", and is back in {in_words(moving.again)}"
    return told


def allowance_sentences(allowance: Allowance) -> list[str]:
    """A clause about each quota of a relay, and one about its rate."""
    told = [
        f"{size_in_words(period.left)} of {size_in_words(period.limit)} left of its {_PERIODS[period.period]} quota"
        for period in allowance.periods
    ]
    return told if allowance.rate is None else [*told, f"carries {size_in_words(allowance.rate)}/s for all together"]


def in_words(seconds: int) -> str:
    """A time to wait, in the unit that people would use, rounded up."""
    for name, unit in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds > 2 * unit:
            return f"{-(-seconds // unit)} {name}"
    return f"{seconds} s"


def size_in_words(size: float) -> str:
    """An amount of bytes, in the unit that people would use."""
    amount, name = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, name = amount / 1000, larger
    return f"{amount:.3g} {name}"
