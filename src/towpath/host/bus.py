"""One property of one service on the system's D-Bus, followed for as long as somebody cares.

dbus-fast is imported only where a bus is found: a machine without one, and a node that asks nothing, pay nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from dbus_fast import Message
    from dbus_fast.aio import MessageBus

__all__ = ["Property", "follow", "system_bus"]

_SOCKETS: Final = (Path("/run/dbus/system_bus_socket"), Path("/var/run/dbus/system_bus_socket"))
_ANSWER_S: Final = 10.0
_BUS: Final = "org.freedesktop.DBus"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"
Changed = Callable[[Any], None]


class Property(NamedTuple):
    """Where it is to be found."""

    service: str
    path: str
    interface: str
    name: str


def system_bus() -> str | None:
    """The address of the system's bus; None when there is none."""
    given = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
    if given:
        return given
    return next((f"unix:path={path}" for path in _SOCKETS if path.exists()), None)


async def follow(address: str, wanted: Property, changed: Changed) -> str:
    """Calls `changed(value)` with the value now and whenever it is another, None while the service is away.

    Returns a clause that says why no more can be heard; until then it runs.
    """
    from dbus_fast import DBusError, InvalidAddressError
    from dbus_fast.aio import MessageBus

    try:
        async with asyncio.timeout(_ANSWER_S):
            bus = await MessageBus(bus_address=address).connect()
    except (OSError, EOFError, DBusError, InvalidAddressError, TimeoutError) as e:
        return f"D-Bus cannot be reached: {e or type(e).__name__}"
    try:
        return await _Follower(bus, wanted, changed).run()
    except (OSError, EOFError, DBusError, TimeoutError) as e:
        return f"{wanted.service} does not answer on D-Bus: {e or type(e).__name__}"
    finally:
        bus.disconnect()
        with contextlib.suppress(OSError, EOFError):
            await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]


class _Follower:
    def __init__(self, bus: MessageBus, wanted: Property, changed: Changed) -> None:
        self._bus = bus
        self._wanted = wanted
        self._changed = changed
        self._again = asyncio.Event()

    async def run(self) -> str:
        self._bus.add_message_handler(self._heard)
        wanted = self._wanted
        of_service = f"type='signal',sender='{wanted.service}',path='{wanted.path}',interface='{_PROPERTIES}'"
        of_bus = f"type='signal',sender='{_BUS}',member='NameOwnerChanged',arg0='{wanted.service}'"
        for rule in (of_service, of_bus):
            await self._call(_BUS, "/org/freedesktop/DBus", _BUS, "AddMatch", "s", [rule])
        ended = asyncio.ensure_future(self._bus.wait_for_disconnect())  # type: ignore[no-untyped-call]
        try:
            # The service must be there once (the bus starts it if it can); it may be restarted later.
            self._changed(await self._value())
            while True:
                again = asyncio.ensure_future(self._again.wait())
                await asyncio.wait((ended, again), return_when=asyncio.FIRST_COMPLETED)
                again.cancel()
                if ended.done():
                    reason = ended.exception()
                    return f"D-Bus is gone: {reason}" if str(reason or "") else "D-Bus is gone"
                self._again.clear()
                try:
                    self._changed(await self._value())
                except (OSError, TimeoutError):
                    self._changed(None)
        finally:
            ended.cancel()

    def _heard(self, message: Message) -> bool:
        if message.member in ("PropertiesChanged", "NameOwnerChanged"):
            # What changed is asked for: one way to read the value, whichever way the news came.
            self._again.set()
        return False

    async def _value(self) -> Any:
        wanted = self._wanted
        body = [wanted.interface, wanted.name]
        answer = await self._call(wanted.service, wanted.path, _PROPERTIES, "Get", "ss", body)
        return answer.body[0].value

    async def _call(
        self, service: str, path: str, interface: str, member: str, signature: str, body: list[str]
    ) -> Message:
        from dbus_fast import Message, MessageType

        asked = Message(
            destination=service, path=path, interface=interface, member=member, signature=signature, body=body
        )
        async with asyncio.timeout(_ANSWER_S):
            answer = await self._bus.call(asked)
        if answer is None or answer.message_type is MessageType.ERROR:
            reason = "no answer" if answer is None else str(answer.body[0] if answer.body else answer.error_name)
            raise OSError(reason)
        return answer
