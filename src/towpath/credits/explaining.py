"""Balances and decisions in sentences with the numbers, for the owner of a node. Pure.

Credits are counted in MiB; amounts of the free tier in the units that settings are written in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from towpath.credits.decay import CREDIT
from towpath.credits.free_tier import UNLIMITED, Tier, network_in_words
from towpath.credits.policy import LEAST, LOADED, Asked, Decision, Ground
from towpath.credits.senders import Sender
from towpath.relaystream.reasons import Reason, in_words, size_in_words

if TYPE_CHECKING:
    from towpath.credits.ledger import Standing

__all__ = [
    "balance_sentences",
    "carried_sentence",
    "credits_of",
    "decision_sentence",
    "free_tier_sentences",
    "standing_sentence",
]

_LOAD: dict[str, str] = {
    "rate": "the rate",
    "circuits": "the circuits",
    "reservations": "the reservations",
    "quota": "the quota",
}


def credits_of(amount: float) -> float:
    """Bytes in credits, to two digits behind the point."""
    return round(amount / CREDIT, 2)


def _credits(amount: float) -> str:
    n = credits_of(amount)
    return f"{n:g} credit{'' if n == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{min(100, int(100 * share))}%"


def balance_sentences(earned: float, spent: float, earned_ever: int, spent_ever: int, payers: int) -> list[str]:
    """How our own balance came about; amounts in bytes, the first two as they have faded."""
    if not earned_ever and not spent_ever:
        return [
            "Nothing has been earned or spent: credits are earned by relaying for others (towpath mode cooperative), "
            "and spent by sending through relays."
        ]
    told = [
        f"{_credits(earned)} earned: {size_in_words(earned_ever)} relayed for {payers} "
        f"account{'' if payers == 1 else 's'} that signed for it{_faded(earned, earned_ever)}.",
        f"{_credits(spent)} spent: {size_in_words(spent_ever)} sent through relays and signed for"
        f"{_faded(spent, spent_ever)}.",
    ]
    difference = earned - spent
    if difference >= CREDIT:
        told.append(f"That leaves {_credits(difference)}: relays that know of it serve this node first when crowded.")
    else:
        told.append("That leaves no credit: crowded relays serve this node from their free tier.")
    return told


def _faded(now: float, ever: int) -> str:
    return ", of which half fades in 30 days" if ever - now >= CREDIT / 100 else ""


def standing_sentence(standing: Standing, paid_with: int, promised: int) -> str:
    """Where the credit of somebody else's account comes from; `paid_with` was used of it before, `promised` is now."""
    left = standing.direct + standing.through - standing.used
    if not standing.direct and not standing.through:
        spent = f"it used {size_in_words(paid_with)} of it" if paid_with else "it relayed nothing for us"
        return f"It has no credit here: {spent}, and nobody whom we owe owes it anything."
    parts = []
    if standing.direct:
        parts.append(f"{size_in_words(standing.direct)} for what it relayed for us")
    if standing.through:
        parts.append(f"{size_in_words(standing.through)} through others whom we owe")
    told = f"Its credit here: {' and '.join(parts)}"
    if standing.used:
        told += f", of which it has just used {size_in_words(standing.used)}"
    if paid_with:
        told += f"; {size_in_words(paid_with)} of its circuits were paid so until now"
    if promised:
        told += f"; {size_in_words(min(promised, left))} of what is left are promised to open circuits"
    return f"{told}."


def carried_sentence(sender: Sender, whose: str = "it") -> str:
    """What was carried for an account or network, and what paid for it."""
    parts = [
        f"{size_in_words(amount)} {how}"
        for amount, how in (
            (sender.credit, "on its credit"),
            (sender.free, "on its free tier"),
            (sender.beyond, "as a gift, while nothing was asked in return"),
        )
        if amount
    ]
    return f"Carried for {whose}: {', '.join(parts) or 'nothing'}."


def free_tier_sentences(asked: Asked) -> list[str]:
    """What is left of its free tiers."""
    tier = asked.tier
    if not tier.limited:
        return ["The free tier is unlimited here (credits.free_tier)."]
    told = []
    if asked.account is not None:
        told.append(f"Free tier of its account: {_left(asked.free_left_account, tier)}.")
    if asked.prefix:
        told.append(
            f"Free tier of its network {network_in_words(asked.prefix)}: {_left(asked.free_left_prefix, tier)}."
        )
    return told


def _left(left: int, tier: Tier) -> str:
    size = tier.size or 0
    told = f"{size_in_words(max(0, min(left, size)))} of {size_in_words(size)} left"
    wait = tier.seconds_until(left, size)
    if left < size:
        told += ", and it does not refill" if wait is None else f", full again in {in_words(int(wait) + 1)}"
    return told


def decision_sentence(
    asked: Asked, decision: Decision, local: Callable[[float], time.struct_time] = time.localtime
) -> str:
    """What is decided when it asks for a circuit, and what that rests on."""
    busy = f"{_LOAD[asked.load.what]} in use to {_percent(asked.load.most)}"
    match decision.ground:
        case Ground.NOT_ENFORCED:
            return "Accepted: the owner asks nothing in return (credits.enforce is never)."
        case Ground.QUIET:
            return (
                f"Accepted without a limit: the relay is quiet ({busy}); below {_percent(LOADED)} nobody is asked for "
                "anything."
            )
        case Ground.CREDIT:
            return f"Accepted on its credit, and served first: {_credits(asked.credit)} are left{_limited(decision)}."
        case Ground.FREE_TIER:
            rider = ", because it did not sign for what it had before" if asked.rider else ""
            return f"Accepted on the free tier{rider}: {_free_left(asked)} left{_limited(decision)}."
        case Ground.NO_SEAT:
            return (
                f"Refused: the relay is crowded ({busy}), it has no credit that is free, and its network has "
                f"{decision.have} circuits, which is its share."
            )
        case Ground.NO_QUOTA:
            return (
                f"Refused: of the quota {size_in_words(asked.quota.left or 0)} are left, and its share of them is "
                "promised to circuits that are open."
            )
        case _:
            return _refused(asked, decision, busy, local)


def _limited(decision: Decision) -> str:
    if decision.limit_data is None:
        return ""
    return f"; one circuit gets {size_in_words(decision.limit_data)} of that each way"


def _free_left(asked: Asked) -> str:
    return "any amount is" if asked.free_left >= UNLIMITED else f"{size_in_words(asked.free_left)} are"


def _refused(asked: Asked, decision: Decision, busy: str, local: Callable[[float], time.struct_time]) -> str:
    why = "the owner asks for it always" if asked.enforce == "always" else f"the relay is crowded ({busy})"
    whose = "account" if decision.code is Reason.FREE_TIER_ACCOUNT else "network"
    credit = "it does not sign for what it has" if asked.rider else f"it has {_credits(asked.credit)}"
    told = (
        f"Refused: {why}, {credit}, and {size_in_words(asked.free_left)} are left of the free tier of its {whose}; "
        f"less than {size_in_words(LEAST)} in all is not worth a circuit."
    )
    if decision.again_at is None:
        return f"{told} The free tier does not refill: only relaying for others helps."
    at = time.strftime("%H:%M", local(decision.again_at))
    return f"{told} By {at} there are {size_in_words(decision.have or 0)} again; relaying for others raises it."
