"""The relay's week: for each of its 168 hours, whether and how fast to relay. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from towpath.settings.values import Rate, TomlValue, format_rate

__all__ = ["Schedule", "ScheduleKind"]

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WORDS: Final = ("open", "off", "client", "cooperative", "dedicated")
OPEN: Final = "open"

Slot = str | float
"""`open` (as the mode says), `off`, a mode, or a rate in bytes per second."""

_RATE: Final = Rate(1, unlimited=False)
_HOURS: Final = re.compile(r"(\d{1,2})-(\d{1,2})", re.ASCII)


class Schedule(tuple[Slot, ...]):
    """168 slots, hour 0 of Monday first, in local time."""

    __slots__ = ()

    def at(self, weekday: int, hour: int) -> Slot:
        """The slot of an hour; `weekday` 0 is Monday."""
        return self[weekday * 24 + hour]

    @property
    def always_open(self) -> bool:
        """Does it never restrict anything?"""
        return all(slot == OPEN for slot in self)


class ScheduleKind:
    """Rules `DAYS HOURS WHAT`, of which later ones win: `mon-fri 09-17 off`, `sat,sun 00-24 20Mbit/s`,
    `daily 22-06 open`.

    Hours that wrap go on into the next day. Hours that no rule names are open.
    """

    allowed: Final = (
        "open, or a list of rules 'DAYS HOURS WHAT' such as 'mon-fri 09-17 off' or 'daily 22-06 20Mbit/s', "
        "WHAT being " + ", ".join(WORDS) + " or a rate"
    )

    def read(self, value: object) -> Schedule:
        """See Kind."""
        if isinstance(value, str):
            text = value.strip()
            if text.startswith("[") and text.endswith("]"):
                text = text[1:-1]
            # Between rules stands a semicolon or a comma followed by a rule; days have commas of their own,
            # without spaces.
            value = [part.strip().strip("\"'") for part in re.split(r";|,\s+|,(?=[\"'])", text) if part.strip()]
        if not isinstance(value, Sequence) or len(value) > 336:
            raise ValueError(f"allowed is {self.allowed}")
        slots: list[Slot] = [OPEN] * 168
        for rule in value:
            if not isinstance(rule, str):
                raise ValueError(f"allowed is {self.allowed}")
            self._apply(rule, slots)
        return Schedule(slots)

    def write(self, value: Schedule) -> TomlValue:
        """See Kind."""
        rules = []
        for day, name in enumerate(DAYS):
            hour = 0
            while hour < 24:
                slot, start = value.at(day, hour), hour
                while hour < 24 and value.at(day, hour) == slot:
                    hour += 1
                if slot != OPEN:
                    what = slot if isinstance(slot, str) else format_rate(slot)
                    rules.append(f"{name} {start:02}-{hour:02} {what}")
        return rules or OPEN

    def _apply(self, rule: str, slots: list[Slot]) -> None:
        words = rule.lower().split()
        if words == [OPEN]:
            return
        if len(words) != 3:
            raise ValueError(f"allowed is {self.allowed}; {rule!r} is not such a rule")
        what: Slot = words[2]
        if what not in WORDS:
            try:
                what = float(_RATE.read(rule.split()[2]))
            except ValueError as e:
                raise ValueError(f"allowed is {self.allowed}; {words[2]!r} is neither") from e
        hours = _HOURS.fullmatch(words[1])
        if hours is None or int(hours[1]) > 23 or int(hours[2]) > 24:
            raise ValueError(f"allowed is {self.allowed}; {words[1]!r} are no hours, such as 09-17")
        start, end = int(hours[1]), int(hours[2])
        length = end - start if end > start else end - start + 24
        for day in self._days(words[0]):
            for hour in range(length):
                slots[(day * 24 + start + hour) % 168] = what

    def _days(self, text: str) -> list[int]:
        if text in ("daily", "all"):
            return list(range(7))
        days: list[int] = []
        for part in text.split(","):
            first, dash, last = part.partition("-")
            if first not in DAYS or (dash and last not in DAYS):
                raise ValueError(f"allowed is {self.allowed}; {part!r} is no day, such as mon or mon-fri")
            a = DAYS.index(first)
            b = DAYS.index(last) if dash else a
            days += [(a + i) % 7 for i in range((b - a) % 7 + 1)]
        return days
