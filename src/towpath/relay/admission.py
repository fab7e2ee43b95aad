"""Who may reserve and who may connect: a pure function of settings and numbers, asked by native/hop.pyx.

Whoever is refused is told why on its control stream, if it has one: the statuses of the specification are few.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from towpath._native.hop import Verdict
from towpath.addresses import peer_id_to_bytes
from towpath.errors import AddressError
from towpath.relaystream.reasons import Reason, Request

if TYPE_CHECKING:
    from towpath.credits.gate import Gate
    from towpath.settings import RelaySettings

__all__ = ["Admission", "Barred", "PeerList"]

OK: Final = 100
RESERVATION_REFUSED: Final = 200
RESOURCE_LIMIT_EXCEEDED: Final = 201
PERMISSION_DENIED: Final = 202
_IP6: Final = 0x29


class PeerList:
    """Peer ids and IP prefixes, as `relay.allow` and `relay.deny` have them."""

    __slots__ = ("_ids", "_networks")

    def __init__(self, items: Iterable[str]) -> None:
        self._ids: set[bytes] = set()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for item in items:
            try:
                self._ids.add(peer_id_to_bytes(item))
            except AddressError:
                self._networks.append(ipaddress.ip_network(item, strict=False))

    def __bool__(self) -> bool:
        return bool(self._ids or self._networks)

    def contains(self, peer_id: bytes, remote: bytes) -> bool:
        """Is this peer in it? `remote` is the binary multiaddr of its connection."""
        if peer_id in self._ids:
            return True
        if not self._networks or len(remote) < 5:
            return False
        address = ipaddress.ip_address(remote[1:17] if remote[0] == _IP6 else remote[1:5])
        return any(address in network for network in self._networks)


class Barred(NamedTuple):
    """Why nobody new is admitted; `have` of `limit` bytes of a `period` are left, `again_at` (Unix time) it ends."""

    code: Reason
    again_at: float | None = None
    period: str | None = None
    have: int | None = None
    limit: int | None = None


def _untold(*_: Any, **__: Any) -> None:
    """Explains to nobody."""


class Admission:
    """The policy of a relay with these settings. Its verdicts are made once and shared by all askers.

    While `barred` is set nobody is admitted, renewals included. `told` is RelaySide.refused, or takes what that takes.
    With a `gate` credits have their say after everything else.
    """

    def __init__(self, settings: RelaySettings, told: Callable[..., None] = _untold, gate: Gate | None = None) -> None:
        self.barred: Barred | None = None
        self._told = told
        self._gate = gate
        self._settings = settings
        self._allow = PeerList(settings.allow)
        self._deny = PeerList(settings.deny)
        self._open = not self._allow and not self._deny
        limit_s = 0 if settings.circuit_duration is None else max(1, round(settings.circuit_duration))
        limit_data = settings.circuit_data or 0
        self._limit_s = limit_s
        self._reserved = Verdict(OK, round(settings.reservation_ttl), limit_s, limit_data)
        self._connected = Verdict(OK, 0, limit_s, limit_data)
        self._refused = Verdict(RESERVATION_REFUSED)
        self._exceeded = Verdict(RESOURCE_LIMIT_EXCEEDED)
        self._denied = Verdict(PERMISSION_DENIED)

    def _permits(self, peer_id: bytes, remote: bytes) -> bool:
        if self._open:
            return True
        if self._deny and self._deny.contains(peer_id, remote):
            return False
        return not self._allow or self._allow.contains(peer_id, remote)

    def reserve(self, peer_id: bytes, remote: bytes, renewing: bool, reservations: int, of_prefix: int) -> Verdict:
        """May this peer reserve? `reservations` and `of_prefix` count those held now, of all and of its /32 or /64."""
        s = self._settings
        if not self._permits(peer_id, remote):
            self._told(peer_id, Request.RESERVE, Reason.DENIED)
            return self._denied
        if self.barred is not None:
            self._tell_barred(peer_id, Request.RESERVE, self.barred)
            return self._refused
        if renewing:
            return self._reserved
        if s.max_reservations is not None and reservations >= s.max_reservations:
            self._told(peer_id, Request.RESERVE, Reason.RESERVATIONS_FULL, reservations, s.max_reservations)
            return self._refused
        if s.max_reservations_per_ip is not None and of_prefix >= s.max_reservations_per_ip:
            self._told(peer_id, Request.RESERVE, Reason.NETWORK_FULL, of_prefix, s.max_reservations_per_ip)
            return self._refused
        gate = self._gate
        if gate is not None and not gate.reserve(peer_id, reservations, s.max_reservations, of_prefix):
            self._told(peer_id, Request.RESERVE, Reason.FREE_SEATS, of_prefix, s.max_reservations)
            return self._refused
        return self._reserved

    def connect(
        self, dialer: bytes, target: bytes, remote: bytes, circuits: int, of_dialer: int, of_target: int
    ) -> Verdict:
        """May `dialer` have a circuit to `target`? The counts are of circuits now, those under way included."""
        s = self._settings
        if not self._permits(dialer, remote):
            self._told(dialer, Request.CONNECT, Reason.DENIED, target=target)
            return self._denied
        if self.barred is not None:
            self._tell_barred(dialer, Request.CONNECT, self.barred, target)
            return self._exceeded
        if s.max_circuits is not None and circuits >= s.max_circuits:
            self._told(dialer, Request.CONNECT, Reason.CIRCUITS_FULL, circuits, s.max_circuits, target=target)
            return self._exceeded
        of_one = max(of_dialer, of_target)
        if s.max_circuits_per_peer is not None and of_one >= s.max_circuits_per_peer:
            self._told(dialer, Request.CONNECT, Reason.PEER_FULL, of_one, s.max_circuits_per_peer, target=target)
            return self._exceeded
        if self._gate is None:
            return self._connected
        said = self._gate.connect(dialer, target, remote, circuits, s.max_circuits, s.circuit_data)
        no = said.refused
        if no is not None:
            code = Reason.FREE_SEATS if no.code is None else no.code
            self._told(dialer, Request.CONNECT, code, no.have, no.limit, again_at=no.again_at, target=target)
            return self._exceeded
        return self._connected if said.limit is None else Verdict(OK, 0, self._limit_s, said.limit)

    def _tell_barred(self, peer_id: bytes, request: Request, why: Barred, target: bytes | None = None) -> None:
        self._told(
            peer_id,
            request,
            why.code,
            why.have,
            why.limit,
            period=why.period,
            again_at=why.again_at,
            target=target,
        )
