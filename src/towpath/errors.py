"""The one tree of errors: each says what happened and what to do. Anyone may raise and catch them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

__all__ = [
    "AddressError",
    "ConnectionFailed",
    "DhtError",
    "DialError",
    "HandshakeError",
    "IdentityError",
    "MalformedMessage",
    "NoRelaysAvailable",
    "NoReservation",
    "NotRelaying",
    "NotRunning",
    "PeerIdMismatch",
    "PermissionDenied",
    "ProtocolNotSupported",
    "RelayError",
    "ReservationRefused",
    "ResourceLimitExceeded",
    "SettingsError",
    "StoreInUse",
    "StreamReset",
    "TicketError",
    "TimeoutExpired",
    "TowpathError",
    "UnexpectedMessage",
]


class TowpathError(Exception):
    """Whatever towpath raises on purpose; `str()` of it is a sentence for the user."""


class SettingsError(TowpathError):
    """A setting's key or value is wrong, and nothing was applied.

    `key` and `value` are what was given, `allowed` says what may stand there, `nearest` is the right key
    that looks most like a wrong one (None for a wrong value), `source` says where it was given (a file, a
    variable, `--set`).
    """

    def __init__(self, key: str, value: object, allowed: str, *, nearest: str | None = None, source: str = "") -> None:
        self.key = key
        self.value = value
        self.allowed = allowed
        self.nearest = nearest
        self.source = source
        where = f" ({source})" if source else ""
        if nearest is not None:
            given = "" if value == "" else f" with value {value!r}"
            text = f"unknown setting {key!r}{given}{where}: did you mean {nearest!r}? {allowed}"
        else:
            text = f"setting {key!r} cannot be {value!r}{where}: {allowed}"
        super().__init__(text)


class IdentityError(TowpathError):
    """A key file is missing, malformed, or readable by others."""


class AddressError(TowpathError):
    """A multiaddr or peer id is not one, or not one that towpath can use."""


class DialError(TowpathError):
    """No connection to a peer could be made."""


class HandshakeError(DialError):
    """The other side was reached, but did not complete security, multiplexing or negotiation."""


class PeerIdMismatch(HandshakeError):
    """The other side proved to be somebody else than the peer asked for."""


class RelayError(DialError):
    """A relay answered HOP with a status other than OK: `status`, and its `name` in the specification.

    `reason` is what the relay said of it, in a sentence with advice, where it did (`/towpath/relay/1`).
    """

    STATUS: ClassVar[int | None] = None

    def __init__(self, status: int, name: str, message: str = "", *, reason: str | None = None) -> None:
        self.status = status
        self.name = name
        self.reason = reason
        advice = reason or _RELAY_ADVICE.get(status, "the relay may speak a newer protocol; try another relay")
        super().__init__(message or f"the relay answered {name} ({status}): {advice}")

    @staticmethod
    def of(status: int, message: str = "", *, reason: str | None = None) -> RelayError:
        """The error for a status of circuit relay v2, of the subclass that belongs to it."""
        cls, name = _RELAY_STATUS.get(status, (RelayError, f"status {status}"))
        return cls(status, name, message, reason=reason)


class ReservationRefused(RelayError):
    """RESERVATION_REFUSED: the relay is full or does not want us."""

    STATUS = 200


class ResourceLimitExceeded(RelayError):
    """RESOURCE_LIMIT_EXCEEDED: the relay carries as many circuits as it may."""

    STATUS = 201


class PermissionDenied(RelayError):
    """PERMISSION_DENIED: the relay's owner or the protocol forbids it."""

    STATUS = 202


class ConnectionFailed(RelayError):
    """CONNECTION_FAILED: the target refused or did not answer."""

    STATUS = 203


class NoReservation(RelayError):
    """NO_RESERVATION: the target is not at this relay."""

    STATUS = 204


class MalformedMessage(RelayError):
    """MALFORMED_MESSAGE: the relay did not understand what it was sent."""

    STATUS = 400


class UnexpectedMessage(RelayError):
    """UNEXPECTED_MESSAGE: the relay did not expect this message now."""

    STATUS = 401


_RELAY_STATUS: dict[int, tuple[type[RelayError], str]] = {
    200: (ReservationRefused, "RESERVATION_REFUSED"),
    201: (ResourceLimitExceeded, "RESOURCE_LIMIT_EXCEEDED"),
    202: (PermissionDenied, "PERMISSION_DENIED"),
    203: (ConnectionFailed, "CONNECTION_FAILED"),
    204: (NoReservation, "NO_RESERVATION"),
    400: (MalformedMessage, "MALFORMED_MESSAGE"),
    401: (UnexpectedMessage, "UNEXPECTED_MESSAGE"),
}
_RELAY_ADVICE: dict[int, str] = {
    200: "it has no room or does not take us; try another relay",
    201: "it carries as many circuits as it may; try again later or through another relay",
    202: "its owner does not allow this; try another relay",
    203: "the target did not accept the connection; check that it is running and try again",
    204: "the target holds no reservation there; use a relay that the target is connected to",
    400: "it did not understand the request; one of the two implementations is wrong",
    401: "it did not expect the request; one of the two implementations is wrong",
}


class ProtocolNotSupported(TowpathError):
    """The peer was reached, but does not speak the protocol asked for."""

    def __init__(self, protocol: str, peer: str = "the peer") -> None:
        self.protocol = protocol
        super().__init__(f"{peer} does not speak {protocol}; check that the right service runs there")


class NotRelaying(ProtocolNotSupported, DialError):
    """A peer was reached that does not relay, or not now: `reason` is what it said of it, None when it did not."""

    def __init__(self, protocol: str, reason: str | None = None) -> None:
        self.protocol = protocol
        self.reason = reason
        told = reason or f"it does not speak {protocol}; use another relay"
        TowpathError.__init__(self, f"the peer does not relay now: {told}")


class StreamReset(TowpathError):
    """The other side, a relay or a lost connection cut a stream off: what was read so far is not all."""

    def __init__(self, message: str = "the stream was reset before its end; what arrived is not complete") -> None:
        super().__init__(message)


class NoRelaysAvailable(TowpathError):
    """No relay could be used. `tried` holds a line for each one that was tried, with the reason."""

    def __init__(self, tried: Sequence[str] = ()) -> None:
        self.tried = list(tried)
        text = "No relays available. Enable relay mode to help the network?"
        if self.tried:
            text += " Tried: " + "; ".join(self.tried) + "."
        super().__init__(text)


class NotRunning(TowpathError):
    """No node runs on the data directory asked for."""


class StoreInUse(TowpathError):
    """Another process has the data directory's store open."""


class DhtError(TowpathError):
    """The DHT could not be asked, or did not answer in time."""


class TicketError(TowpathError):
    """A ticket is damaged, expired, or not accepted by the sharer."""


class TimeoutExpired(TowpathError, TimeoutError):
    """Something did not happen in the time it was given."""
