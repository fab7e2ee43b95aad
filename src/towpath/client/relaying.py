"""What a client says to a relay and answers to it: RESERVE, CONNECT, and STOP from the relay's side.

Source: libp2p specs, relay/circuit-v2.md. Messages are encoded and checked natively (native/messages.pyx).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from towpath._native import appstream, messages
from towpath.errors import HandshakeError, NotRelaying, ProtocolNotSupported, RelayError, StreamReset
from towpath.relaystream.reasons import Request

if TYPE_CHECKING:
    from towpath._native.appstream import AppStream
    from towpath._native.messages import Message
    from towpath._native.session import Session
    from towpath.relaystream.client import ClientSide

__all__ = ["HOP", "STOP", "STOP_CONNECT", "open_stream", "read_message", "request_circuit", "request_reservation"]

HOP: Final = "/libp2p/circuit/relay/0.2.0/hop"
STOP: Final = "/libp2p/circuit/relay/0.2.0/stop"
STOP_CONNECT: Final = 0
OK: Final = 100
_STATUS: Final = 2


async def open_stream(session: Session, protocol: str) -> AppStream:
    """A stream of this session whose other end agreed to the protocol.

    ProtocolNotSupported when it does not speak it, StreamReset when the stream or the connection ended before that was
    known.
    """
    opened = appstream.open_stream(session, protocol)
    if opened is None:
        raise StreamReset("the connection is closed; connect again")
    stream, selected = opened
    try:
        answer = await selected
        if answer is None:
            if session.closed:
                raise StreamReset("the connection closed while a stream was opened; connect again")
            raise StreamReset(f"the other side cut a stream off before it said whether it speaks {protocol}; try again")
        if not answer:
            raise ProtocolNotSupported(protocol)
    except asyncio.CancelledError:
        stream.reset()
        raise
    return stream


async def read_message(stream: AppStream) -> bytes:
    """One length-prefixed message, without its prefix; what follows it stays in the stream.

    ValueError when it is none.
    """
    data = b""
    while True:
        framing = messages.message_length(data) if data else None
        if framing is not None and len(data) >= sum(framing):
            return data[framing[0] :]
        wanted = 1 if framing is None else sum(framing) - len(data)
        await stream.wait_readable()
        part = stream.read(wanted)
        if not part:
            raise StreamReset("the relay closed the stream before it answered")
        data += part


_REFUSALS: Final = (200, 201, 202)
"""Statuses that are the relay's own decision, which it may explain on the control stream."""


async def _request(
    session: Session, message: bytes, control: ClientSide | None, request: Request, target: bytes | None
) -> tuple[AppStream, Message]:
    try:
        stream = await open_stream(session, HOP)
    except ProtocolNotSupported as error:
        raise NotRelaying(HOP, None if control is None else await control.why_not(session)) from error
    try:
        if control is not None:
            control.attach(session)
            if request is Request.CONNECT:
                await control.shown(session)
        stream.write(message)
        answer = messages.read_hop(await read_message(stream))
        if answer.type != _STATUS or answer.status is None:
            raise HandshakeError("the relay's answer is not a status; try another relay")
        if answer.status != OK:
            # An explanation comes before the status it explains.
            reason = None
            if control is not None and answer.status in _REFUSALS:
                reason = control.reason(session, request, target)
            raise RelayError.of(answer.status, reason=reason)
    except BaseException as error:
        stream.reset()
        if isinstance(error, ValueError):
            raise HandshakeError(f"the relay's answer cannot be read ({error}); try another relay") from error
        raise
    return stream, answer


async def request_reservation(session: Session, control: ClientSide | None = None) -> Message:
    """Asks the relay at the other end for a reservation, or refreshes it. RelayError when it refuses.

    With `control` the error says why, if the relay does.
    """
    stream, answer = await _request(session, messages.hop_reserve(), control, Request.RESERVE, None)
    if not answer.has_reservation:
        stream.reset()
        raise HandshakeError("the relay accepted, but sent no reservation; try another relay")
    stream.close_write()
    stream.discard()
    return answer


async def request_circuit(
    session: Session, target: bytes, control: ClientSide | None = None
) -> tuple[AppStream, Message]:
    """Asks for a circuit to `target`; the stream returned leads to it. RelayError when the relay refuses.

    With `control` the error says why, if the relay does.
    """
    return await _request(session, messages.hop_connect(target), control, Request.CONNECT, target)
