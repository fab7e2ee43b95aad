"""`towpath reputation`: what others say of this node, what it measured of relays, and of one of them."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import quote

from cyclopts import Parameter

from towpath.cli.options import Data, Full, Json
from towpath.cli.output import print_facts, print_json, print_table, quantity, several
from towpath.cli.places import data_directory
from towpath.control.client import ask
from towpath.log import short_peer_id

__all__ = ["in_words", "independence", "reputation"]

_COLUMNS: Final = ("peer", "score", "ranking", "worked", "failed", "up", "latency_ms", "relayed_for_me")
_STAR, _NO_STAR = "★", "☆"


def reputation(
    peer: Annotated[str | None, Parameter(help="A peer's id: what was measured of that one.")] = None,
    /,
    *,
    data: Data = None,
    as_json: Json = False,
    full: Full = False,
) -> None:
    """Show what others say of this node, and what it measured of the relays it knows.

    A score, 0 to 100, is made of one's own measurements: 40 for being up, 40 for circuits that worked, 20 for being
    near. What is said of this node is made of the receipts that others signed for it; it is shown to its owner only.
    """
    path = "/v1/reputation" if peer is None else f"/v1/reputation/{quote(peer, safe='')}"
    found: dict[str, Any] = ask(data_directory(data), path)
    if as_json:
        print_json(found)
    elif peer is not None:
        _one(found)
    else:
        _all(found, full=full)


def in_words(status: dict[str, Any]) -> str:
    """`★★★★☆ 87 of 100, from 3 peers`: of the fields that the status has, too."""
    if status.get("reputation") is None:
        return "nobody has signed anything yet"
    return (
        f"{_stars(status['stars'])} {status['reputation']} of 100, "
        f"from {several(status.get('reputation_from') or 0, 'peer')}"
    )


def independence(status: dict[str, Any]) -> str:
    """Whether the network would stand without bootstrap relays, in a sentence."""
    found = status.get("self_sustaining")
    return "not known" if found is None else str(found["sentence"])


def _stars(number: int) -> str:
    return _STAR * number + _NO_STAR * (5 - number)


def _all(found: dict[str, Any], *, full: bool) -> None:
    facts = [("this node", in_words(found))]
    facts += [("", clause) for clause in found["reputation_parts"]]
    told = "in digests, a day late" if found["sharing"] else "nothing (credits.share_digest is off)"
    facts.append(("others are told", told))
    facts.append(("heard from others", several(found["digests_known"], "digest")))
    if found["frauds_known"]:
        proven = "1 account" if found["frauds_known"] == 1 else f"{found['frauds_known']} accounts"
        facts.append(("proven to cheat", proven))
    print_facts(facts)
    print()
    rows = [_row(row, full=full) for row in found["relays"]]
    print_table(rows, _COLUMNS, "No relay was measured yet.")


def _row(row: dict[str, Any], *, full: bool) -> dict[str, Any]:
    return {
        "peer": row["peer"] if full else short_peer_id(row["peer"]),
        "score": f"{row['score']} {_stars(row['stars'])}",
        "ranking": row["ranking"],
        "worked": row["successful_circuits"],
        "failed": row["failed_circuits"],
        "up": f"{row['uptime_percentage']:.0f}%",
        "latency_ms": row["avg_latency_ms"],
        "relayed_for_me": quantity(row["bytes_relayed_for_me"]),
    }


def _one(found: dict[str, Any]) -> None:
    facts: list[tuple[str, Any]] = [("peer", found["peer"])]
    if not found["known"]:
        facts.append(("score", "none: it is no relay that this node knows"))
    else:
        latency = found["avg_latency_ms"]
        counts = f"{found['successful_circuits']:g} worked, {found['failed_circuits']:g} failed"
        facts += [
            ("score", f"{found['score']} of 100 {_stars(found['stars'])}, by what this node measured itself"),
            ("tries", f"{counts} (half of it fades in 30 days)"),
            ("up", f"{found['uptime_percentage']:.0f}% of the time"),
            ("latency", "not measured" if latency is None else f"{latency:g} ms"),
            (
                "receipts",
                "none lead to it" if found["walk"] is None else f"{found['walk']:g} of 100 by others' receipts",
            ),
            ("ranked by", found["ranking"]),
        ]
    facts += [
        ("for this node", f"{quantity(found['bytes_relayed_for_me'])} relayed"),
        ("for it", f"{quantity(found['bytes_relayed_by_me'])} relayed since it connected"),
    ]
    print_facts(facts)
