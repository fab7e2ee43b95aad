"""What `towpath ledger` and the web page show: the own balance, and of everybody else what it rests on, in sentences.

Reads what Credits has; changes nothing. Amounts of credit are in credits (MiB), everything else in bytes.
"""

from __future__ import annotations

import contextlib
import ipaddress
import time
from typing import TYPE_CHECKING, Any, Final

from towpath.addresses import peer_id_to_bytes, peer_id_to_text
from towpath.credits.explaining import (
    balance_sentences,
    carried_sentence,
    credits_of,
    decision_sentence,
    free_tier_sentences,
    standing_sentence,
)
from towpath.credits.free_tier import network_in_words, prefix_of_ip
from towpath.credits.told import refused_in_words, standing_in_words
from towpath.errors import AddressError, TowpathError
from towpath.log import short_peer_id
from towpath.relaystream.reasons import size_in_words
from towpath.signed import PEER_ID_PREFIX

if TYPE_CHECKING:
    from towpath.credits.composition import Credits

__all__ = ["account_text", "ledger", "of_peer", "status"]

_ROWS: Final = 100
_REFUSALS: Final = 5


def account_text(account: bytes) -> str:
    """An account as people see it: as a peer id is written."""
    return peer_id_to_text(PEER_ID_PREFIX + account)


def status(credits: Credits) -> dict[str, Any]:
    """The `credits` part of the node's status."""
    balance = credits.ledger.balance(time.time())
    return {
        "earned": credits_of(balance["earned"]),
        "spent": credits_of(balance["spent"]),
        "balance": credits_of(balance["balance"]),
        "account": account_text(credits.account.public_key),
        "priority": credits.priority(),
        "refused": credits.gate.refusals,
    }


def ledger(credits: Credits) -> dict[str, Any]:
    """The own balance, and a row for each account and network that was carried for, who sent last first."""
    now = time.time()
    balance = credits.ledger.balance(now)
    senders, networks = credits.ledger.senders, credits.networks()
    last = sorted(
        [*senders.accounts().items(), *senders.networks().items()], key=lambda item: item[1].last_seen, reverse=True
    )[:_ROWS]
    sentences = balance_sentences(
        balance["earned"], balance["spent"], balance["earned_ever"], balance["spent_ever"], balance["payers"]
    )
    priority = credits.priority()["sentence"]
    sentences.append(f"{priority[0].upper()}{priority[1:]}.")
    sentences += [
        refused_in_words(refusal, short_peer_id(peer_id_to_text(refusal.relay)))
        for refusal in credits.told.newest(_REFUSALS)
    ]
    return {
        "account": account_text(credits.account.public_key),
        "earned": credits_of(balance["earned"]),
        "spent": credits_of(balance["spent"]),
        "balance": credits_of(balance["balance"]),
        "sentences": sentences,
        "rows": [_row(credits, who, networks.get(who, b""), now) for who, _ in last],
    }


def of_peer(credits: Credits, name: str) -> dict[str, Any]:
    """The row of a peer, account, relay or network, with everything that is known; TowpathError for another name."""
    now = time.time()
    network = _network(name)
    if network is not None:
        return _row(credits, network, b"", now)
    peer_id = _peer_id(credits, name)
    key = peer_id[len(PEER_ID_PREFIX) :]
    if credits.ledger.senders.get(key) is not None:
        return _row(credits, key, credits.networks().get(key, b""), now)
    account, prefix = credits.gate.known_as(peer_id)
    row = _row(credits, account or prefix or None, prefix, now)
    row["peer"] = peer_id_to_text(peer_id)
    row["sentences"] = [
        *_as_a_client(credits, peer_id),
        *_last_decision(credits, peer_id, now),
        *([] if account is None else [f"It pays from the account {short_peer_id(account_text(account))}."]),
        *(row["sentences"] if prefix else [_UNKNOWN]),
    ]
    return row


_UNKNOWN: Final = (
    "It is not connected to this relay, and did not ask it for a circuit since credits were last in force: "
    "what follows for it depends on its account and its network."
)


def _peer_id(credits: Credits, name: str) -> bytes:
    with contextlib.suppress(AddressError):
        return peer_id_to_bytes(name)
    # As lists show it.
    accounts = (PEER_ID_PREFIX + account for account in credits.ledger.senders.accounts())
    found = {one for one in (*credits.peers(), *accounts) if short_peer_id(peer_id_to_text(one)) == name}
    if len(found) == 1:
        return found.pop()
    what = "fits several" if found else "is no peer id, account or network that this node knows"
    raise TowpathError(
        f"{name[:100]!r} {what}; give it in full, as `towpath peers --full` and `towpath ledger` show it"
    )


def _network(name: str) -> bytes | None:
    with contextlib.suppress(ValueError):
        return prefix_of_ip(ipaddress.ip_network(name, strict=False).network_address.packed)
    return None


def _row(credits: Credits, who: bytes | None, prefix: bytes, now: float) -> dict[str, Any]:
    """Of an account that comes from the network `prefix`, if that is known, or of a network."""
    ledger = credits.ledger
    account = who if who is not None and len(who) == 32 else None
    _, asked, decision = credits.gate.judge(account, prefix if account is not None else who or b"", now)
    sender = None if who is None else ledger.senders.get(who)
    sentences = [decision_sentence(asked, decision)]
    spent = 0 if sender is None else sender.credit
    if account is not None:
        sentences.append(standing_sentence(ledger.source.standing(account), spent, credits.gate.promised(account)))
        sentences.append(_signed(ledger.paid_ever(account), ledger.unsigned(account, now)))
    sentences += free_tier_sentences(asked)
    if sender is not None:
        sentences.append(carried_sentence(sender))
    return {
        "peer": account_text(account) if account is not None else network_in_words(asked.prefix),
        "kind": "account" if account is not None else "network",
        "earned": credits_of(spent + asked.credit if account is not None else 0),
        "spent": credits_of(spent),
        "balance": credits_of(asked.credit),
        "carried": 0 if sender is None else sender.carried,
        "on_credit": 0 if sender is None else sender.credit,
        "on_free_tier": 0 if sender is None else sender.free,
        "as_a_gift": 0 if sender is None else sender.beyond,
        "signed": 0 if account is None else ledger.paid_ever(account),
        "unsigned": 0 if account is None else ledger.unsigned(account, now),
        "free_left": asked.free_left if asked.tier.limited else None,
        "accepted": decision.accept,
        "last_seen": None if sender is None else int(sender.last_seen),
        "sentences": sentences,
    }


def _signed(signed: int, unsigned: int) -> str:
    told = f"It signed for {size_in_words(signed)} of what was carried for it"
    return f"{told}, and not yet for {size_in_words(unsigned)}." if unsigned else f"{told}."


def _last_decision(credits: Credits, peer_id: bytes, now: float) -> list[str]:
    last = credits.gate.last(peer_id)
    if last is None:
        return []
    at = time.strftime("%H:%M", time.localtime(last.at))
    return [f"When it last mattered, at {at}: {decision_sentence(last.asked, last.decision)}"]


def _as_a_client(credits: Credits, relay: bytes) -> list[str]:
    """What we have with a relay that we use."""
    name = short_peer_id(peer_id_to_text(relay))
    sentences = [refused_in_words(refusal, name) for refusal in credits.told.of(relay)]
    standing = credits.standing_at(relay)
    if standing is not None:
        sentences.append(standing_in_words(standing))
    paid = credits.ledger.relayed_for_me(relay)
    if paid:
        sentences.append(f"It carried {size_in_words(paid)} for this node, which signed for them.")
    return sentences
