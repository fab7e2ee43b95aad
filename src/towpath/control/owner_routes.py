"""Routes for what the owner does and looks up by hand: circuits, peers, the week, the log, what is wrong."""

from __future__ import annotations

from typing import Final

import msgspec

from towpath.circuit_changes import RUN_MAX
from towpath.control.route import SOURCE, Asked, Body, Controlled, Json, Parameter, Route, WrongRequest
from towpath.control.schemas import Schema, count, refer, text
from towpath.errors import AddressError, SettingsError
from towpath.settings.schedule import DAYS, OPEN, Schedule, ScheduleKind, Slot
from towpath.settings.values import format_rate

__all__ = ["OWNER_ROUTES"]

_KEY: Final = "relay.schedule"
_KIND: Final = ScheduleKind()
_HOURS: Final = 24


class Circuit(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/circuits/close."""

    id: int


class Blocked(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/peers/block."""

    peer: str


class Week(msgspec.Struct, forbid_unknown_fields=True):
    """PATCH /v1/schedule."""

    week: list[list[str]]


async def _changes(node: Controlled, asked: Asked) -> Json:
    return node.by_hand.circuit_changes(int(asked.query["run"]), int(asked.query["after"]))


async def _close(node: Controlled, asked: Asked) -> Json:
    body: Circuit = asked.body
    return {"closed": node.by_hand.end_circuit(body.id)}


async def _block(node: Controlled, asked: Asked) -> Json:
    body: Blocked = asked.body
    try:
        return await node.by_hand.block(body.peer, source=SOURCE)
    except AddressError as e:
        raise WrongRequest(f"peer cannot be {body.peer[:100]!r}: {e}") from e


async def _log(node: Controlled, asked: Asked) -> Json:
    return await node.by_hand.log(int(asked.query["limit"]))


async def _diagnosis(node: Controlled, _asked: Asked) -> Json:
    return await node.by_hand.diagnose()


async def _schedule(node: Controlled, _asked: Asked) -> Json:
    week: Schedule = node.settings.relay.schedule
    rules = _KIND.write(week)
    hours = [[_word(week.at(day, hour)) for hour in range(_HOURS)] for day in range(len(DAYS))]
    return {"rules": rules if isinstance(rules, list) else [], "week": hours}


def _word(slot: Slot) -> str:
    return slot if isinstance(slot, str) else format_rate(slot)


async def _set_schedule(node: Controlled, asked: Asked) -> Json:
    body: Week = asked.body
    if len(body.week) != len(DAYS) or any(len(day) != _HOURS for day in body.week):
        raise WrongRequest("week must be seven days of 24 hours each, Monday and midnight first")
    rules = [
        f"{name} {hour:02}-{hour + 1:02} {slot}"
        for name, day in zip(DAYS, body.week, strict=True)
        for hour, slot in enumerate(day)
        if slot != OPEN
    ]
    try:
        # In the shortest form, which also says what is wrong.
        written = _KIND.write(_KIND.read(rules))
    except ValueError as e:
        raise SettingsError(_KEY, "the week", str(e), source=SOURCE) from e
    return await node.change_settings({_KEY: written}, source=SOURCE, persist=True)


def _fields(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_WEEK: Final[Schema] = {
    "type": "array",
    "minItems": 7,
    "maxItems": 7,
    "items": {"type": "array", "minItems": 24, "maxItems": 24, "items": text("`open`, `off`, a mode or a rate")},
}
_RUN: Final[Schema] = {
    "type": "integer",
    "minimum": 0,
    "maximum": RUN_MAX,
    "description": "as in the last answer; 0 at first",
}
_AFTER: Final[Schema] = {
    "type": "integer",
    "minimum": 0,
    "maximum": RUN_MAX,
    "description": "the highest id that is known",
}
_LIMIT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 1000, "description": "how many at most"}

OWNER_ROUTES: Final = (
    Route(
        "GET",
        "/v1/circuits/changes",
        "Circuits opened since one looked, and the bytes of all that are open: little, for who looks often",
        _changes,
        refer("circuit_changes"),
        query={"run": Parameter(_RUN, "0"), "after": Parameter(_AFTER, "0")},
    ),
    Route(
        "POST",
        "/v1/circuits/close",
        "Ends a circuit, for both of its peers",
        _close,
        refer("closed"),
        body=Body(Circuit, _fields(id=count("of the circuit"))),
    ),
    Route(
        "POST",
        "/v1/peers/block",
        "Keeps a peer out: it goes into relay.deny, and its circuits and its reservation end",
        _block,
        refer("changed"),
        body=Body(Blocked, _fields(peer=text("its id, in full"))),
    ),
    Route("GET", "/v1/schedule", "The relay's week, in local time", _schedule, refer("schedule")),
    Route(
        "PATCH",
        "/v1/schedule",
        "Sets the relay's week, and keeps it in config.toml",
        _set_schedule,
        refer("changed"),
        body=Body(Week, _fields(week=_WEEK)),
    ),
    Route(
        "GET",
        "/v1/log",
        "The last events, the oldest first; those of earlier runs too, under ids of their own",
        _log,
        {"type": "array", "items": refer("event")},
        query={"limit": Parameter(_LIMIT, "200")},
    ),
    Route(
        "GET",
        "/v1/doctor",
        "What is wrong with the node and its machine, and how to mend it",
        _diagnosis,
        refer("diagnosis"),
    ),
)
