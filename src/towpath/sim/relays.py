"""A simulated relay: whom it admits, what it carries, what it says of itself; decided by the node's own modules.

`modes` says whether it relays, `admission` and `credits.policy` who may, `quota` how much, `rate` how fast, `saying`
what is published. It knows users only by what they show: a peer id, an address, an account.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from towpath.addresses import peer_id_to_text
from towpath.credits.policy import LIGHT, Ground, Load, Seats, reservation_seat
from towpath.discovery.candidates import networks
from towpath.discovery.records import Capacity
from towpath.relay.admission import OK, Admission, Barred
from towpath.relay.modes import START, Action, Now, Position, State, Wishes, step
from towpath.relay.rate import of_setting
from towpath.relaystream.reasons import Reason
from towpath.signed import PEER_ID_PREFIX
from towpath.sim.books import Books
from towpath.sim.meter import Meter
from towpath.sim.pipe import Accepted, Flow, Pipe
from towpath.sim.saying import Saying

if TYPE_CHECKING:
    from towpath.settings import RelaySettings
    from towpath.sim.attacker import Behaviour
    from towpath.sim.models import Line, Place
    from towpath.sim.users import User
    from towpath.sim.world import World

__all__ = ["Relay"]

_GOODBYE_S: Final = 5.0
"""What a node that is told to end gives to what is open, at most."""
_CROWDED: Final = 0.8
"""The part of the reservations below which `reservation_seat` gives one to everybody."""
_NEVER: Final = float("inf")


class Relay:
    """Made by World.add_relay. `owner` is the user whose machine it is, None of a dedicated one."""

    __slots__ = (
        "account",
        "address",
        "addresses",
        "admission",
        "behaviour",
        "books",
        "bootstrap",
        "capacity",
        "carried",
        "circuits",
        "crowded",
        "dedicated",
        "family",
        "first_up",
        "id",
        "ip",
        "line",
        "meter",
        "most_circuits",
        "most_reservations",
        "networks",
        "of_ip",
        "of_peer",
        "owner",
        "paying",
        "pipe",
        "place",
        "position",
        "prefix",
        "quiet",
        "reason",
        "refused",
        "reservations",
        "saying",
        "settings",
        "silent",
        "up",
        "wakes_at",
        "wanted",
        "world",
    )

    def __init__(
        self,
        world: World,
        key: bytes,
        ip: bytes,
        place: Place,
        line: Line,
        settings: RelaySettings,
        *,
        owner: User | None,
        bootstrap: bool,
        family: str | None = None,
    ) -> None:
        now = world.engine.now
        self.world = world
        self.id = PEER_ID_PREFIX + key
        self.account = key if owner is None else owner.account
        self.ip = ip
        self.prefix = ip[:3]
        self.place = place
        self.line = line
        self.settings = settings
        self.owner = owner
        self.bootstrap = bootstrap
        self.dedicated = str(settings.mode) == "dedicated"
        self.family = family
        host = ".".join(map(str, ip))
        self.addresses = (f"/ip4/{host}/tcp/4001/p2p/{peer_id_to_text(self.id)}",)
        self.address = b"\x04" + ip + b"\x06\x0f\xa1"
        self.networks = networks(self.addresses)
        self.reason: Reason | None = None
        self.admission = Admission(settings, self._told)
        self.meter = Meter(settings, world.begin, now)
        rate = of_setting(settings.max_rate, line.up).rate
        self.pipe = Pipe(line.up if rate is None else min(rate, line.up), now)
        self.capacity = Capacity(settings.max_reservations, settings.max_circuits, None, int(self.pipe.rate))
        self.saying = Saying(self)
        self.books = Books(self.account, world.terms, world.debts)
        self.quiet = Accepted(None, self.books.quiet.weight, settings.circuit_data)
        """The same answer for everybody while nothing is asked in return; weights are given when they matter."""
        self.reservations: dict[int, User] = {}
        self.of_ip: dict[bytes, int] = {}
        self.of_peer: dict[bytes, int] = {}
        self.most_circuits = settings.max_circuits or _NEVER
        self.most_reservations = settings.max_reservations or _NEVER
        self.crowded = self.most_reservations * _CROWDED
        """From so many reservations on it is not open to everybody."""
        self.paying = 0
        self.position: Position = START
        self.up = False
        self.wanted = True
        """Does its owner still want it to relay?"""
        self.silent = False
        """It is gone, and those who used it do not know yet."""
        self.behaviour: Behaviour | None = None
        """What an attacker's relay does differently."""
        self.first_up: float | None = None
        self.carried = 0
        self.circuits = 0
        self.refused = 0
        self.wakes_at = _NEVER
        """When its meter is looked at next."""

    # --- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Its machine comes up: it relays, if its owner wants that."""
        if self.up or not self.wanted:
            return
        now = self.world.engine.now
        self.up, self.silent = True, False
        self.position = START
        if self.first_up is None:
            self.first_up = now
        self.pipe.at = now
        self.world.relays_up += 1
        self.look()

    def end(self, *, silently: bool = False) -> None:
        """Its machine goes: with a goodbye, or as if the line was cut."""
        if not self.up:
            return
        if silently:
            self._gone(silent=True)
        else:
            self.look(stopping=True)

    def retire(self) -> None:
        """Its owner switches relaying off for good."""
        self.wanted = False
        self.end()

    def _gone(self, *, silent: bool) -> None:
        self.up = False
        self.silent = silent
        self.world.relays_up -= 1
        self.position = START
        if not silent:
            self.saying.withdraw()
        self._close(silent=silent)

    def look(self, *, stopping: bool = False) -> None:
        """Whether it relays now, and what follows from that (`relay.modes`)."""
        now = self.world.engine.now
        if not self.up:
            return
        stopped = self.pipe.stopped
        self._read_meter()
        blocked, scarce = self.meter.against(now)
        grace = _GOODBYE_S if stopping else self.settings.drain_grace or 0.0
        wishes = Wishes(
            relays=self.wanted or stopping,
            blocked=blocked,
            scarce=scarce,
            stopping=stopping,
            circuits=len(self.pipe.flows),
            grace=grace,
        )
        before = self.position
        self.position, actions = step(before, wishes, Now(now, now))
        cause = self.position.cause
        self.admission.barred = None if cause is None else Barred(Reason.QUOTA, cause.until)
        if Action.OFFER in actions or (before.admitting != self.position.admitting and self.position.admitting):
            self.saying.look()
            if before.state is State.RELAYING:
                self._take_back()
        if Action.WITHDRAW in actions or (before.admitting and not self.position.admitting):
            self.saying.look()
            self._tell_to_move(stopping=stopping)
        if Action.CLOSE in actions:
            if stopping:
                self._gone(silent=False)
            else:
                self._close(silent=False)
        elif self.position.drained_at > now:
            self.world.engine.at(self.position.drained_at, self._drained, stopping)
        if stopped and not self.pipe.stopped and self.pipe.flows:
            self.carry(now)
            self._go_on(now)
        if self.up and self.position.until is not None and self.position != before:
            self.world.engine.at(self.position.until + 1.0, self.look)

    def _drained(self, stopping: bool) -> None:
        if self.up and self.position.drained_at:
            self.look(stopping=stopping)

    def _tell_to_move(self, *, stopping: bool) -> None:
        # On the control stream: who has another relay goes there before this one is gone.
        if not stopping:
            for user in list(self.reservations.values()):
                user.moved(self)

    def _take_back(self) -> None:
        for user in list(self.reservations.values()):
            user.stays(self)

    def _close(self, *, silent: bool) -> None:
        now = self.world.engine.now
        self.carry(now)
        flows = self.pipe.clear(now)
        for flow in flows:
            self._count(flow, now)
        users = list(self.reservations.values())
        self.reservations.clear()
        self.of_ip.clear()
        self.of_peer.clear()
        self.paying = 0
        for user in users:
            user.lost(self, silent=silent)
        for flow in flows:
            self.world.cut(flow, silent=silent)

    # --- what is in use ------------------------------------------------------------------------

    def load(self) -> Load:
        """How much of each of its things is in use."""
        if self.meter.due(self.world.engine.now):
            self._read_meter()
        return Load(
            self.pipe.in_use / self.pipe.rate,
            len(self.pipe.flows) / self.most_circuits,
            len(self.reservations) / self.most_reservations,
            self.meter.used,
        )

    def most(self) -> float:
        """How much is in use of what is nearest to its end, as `load` would tell."""
        if self.meter.due(self.world.engine.now):
            self._read_meter()
        pipe, most = self.pipe, self.meter.used
        of_rate = pipe.in_use / pipe.rate
        of_circuits = len(pipe.flows) / self.most_circuits
        of_reservations = len(self.reservations) / self.most_reservations
        if of_rate > most:
            most = of_rate
        if of_circuits > most:
            most = of_circuits
        return of_reservations if of_reservations > most else most

    # --- reservations --------------------------------------------------------------------------

    def takes(self, user: User) -> bool:
        """Would it take a user in now? By what is cheap to see, where that says it."""
        if self.admission.barred is not None:
            return False
        return len(self.reservations) < self.crowded or self.refusal(user) is None

    def refusal(self, user: User) -> Reason | None:
        """Why it would not take a user in now; None: it would."""
        held = len(self.reservations)
        of_ip = self.of_ip.get(user.ip, 0)
        if self.admission.reserve(user.id, b"", user.index in self.reservations, held, of_ip).status != OK:
            return self.reason
        if held >= self.crowded:
            limit = self.settings.max_reservations
            paying = user.shown is not None and self.books.credit_of(user.shown, self.world.engine.now) > 0
            if not reservation_seat(paying, held, limit, of_ip):
                return Reason.RESERVATIONS_FULL
        return None

    def reserve(self, user: User) -> Reason | None:
        """Takes a user in, or says why not."""
        reason = self.refusal(user)
        if reason is not None:
            self.refused += 1
        elif user.index not in self.reservations:
            self.reservations[user.index] = user
            self.of_ip[user.ip] = self.of_ip.get(user.ip, 0) + 1
        return reason

    def release(self, user: User) -> None:
        """A user gives its reservation back."""
        if self.reservations.pop(user.index, None) is not None:
            left = self.of_ip.get(user.ip, 1) - 1
            if left > 0:
                self.of_ip[user.ip] = left
            else:
                self.of_ip.pop(user.ip, None)

    # --- circuits ------------------------------------------------------------------------------

    def accept(self, dialer: User, target: User) -> Accepted:
        """Whether a circuit may be made over which the dialer sends."""
        now = self.world.engine.now
        of_peer = self.of_peer
        flows = self.pipe.flows
        verdict = self.admission.connect(
            dialer.id, target.id, b"", len(flows), of_peer.get(dialer.id, 0), of_peer.get(target.id, 0)
        )
        if verdict.status != OK:
            self.refused += 1
            return Accepted(self.reason)
        if self.books.asks_nothing(self.most()):
            return self.quiet
        load = self.load()
        of_prefix = 0
        if load.high:
            near = dialer.ip[:3]
            of_prefix = sum([flow.weight <= LIGHT and flow.src.ip[:3] == near for flow in flows])
        seats = Seats(self.settings.max_circuits, self.paying, len(flows) - self.paying, of_prefix)
        decision = self.books.decide(dialer.who(), load, seats, now)
        if not decision.accept:
            self.refused += 1
            return Accepted(decision.code)
        limit = self.settings.circuit_data
        if decision.limit_data is not None and decision.ground is not Ground.QUIET:
            limit = decision.limit_data if limit is None else min(limit, decision.limit_data)
        return Accepted(None, decision.weight, limit)

    def carry_for(self, flow: Flow) -> None:
        """Begins to carry a circuit that it accepted."""
        now = self.world.engine.now
        self.circuits += 1
        self.carry(now)
        self.pipe.add(flow)
        for peer in (flow.src.id, flow.dst.id):
            self.of_peer[peer] = self.of_peer.get(peer, 0) + 1
        self.paying += flow.weight > LIGHT
        if flow.promised:
            self.books.promise(flow.who, flow.promised)
        self._go_on(now, flow)

    def drop(self, flow: Flow) -> None:
        """Ends a circuit before it has carried everything; nobody is told."""
        if flow in self.pipe.flows:
            now = self.world.engine.now
            self._end(flow, now)
            self._go_on(now)

    def carry(self, now: float) -> None:
        """Counts what was carried up to now; the quota is charged for it when it is looked at."""
        pipe = self.pipe
        seconds = now - pipe.at
        self.meter.count(pipe.elapse(now), now, seconds)

    def _go_on(self, now: float, new: Flow | None = None) -> None:
        # After a change: the rates anew, and when to look again.
        pipe, engine = self.pipe, self.world.engine
        if pipe.asked <= pipe.rate:
            pipe.weighed = False
        elif not pipe.weighed and len(pipe.flows) > 1:
            # They were let in when weights did not matter, and now they do.
            pipe.weighed = True
            for flow in pipe.flows:
                flow.weight = self.books.weight(flow.who, now)
            self.paying = sum([flow.weight > LIGHT for flow in pipe.flows])
        changed = pipe.share(now, new)
        if pipe.in_use > 0:
            if self.meter.due(now):
                self._read_meter()
                if self.meter.low == self.position.admitting or pipe.stopped:
                    self.look()
                    if not pipe.flows:
                        return
                if pipe.stopped:
                    changed = pipe.share(now)
            if pipe.size > self.meter.ahead:
                due = self.meter.due_at(now, pipe.in_use)
                if due < self.wakes_at:
                    # One that waits for less is left to come, and waits again.
                    self.wakes_at = due
                    engine.at(due, self._wake, due)
        for flow in changed:
            flow.turn += 1
        if pipe.full:
            # The first that is through changes the rates of all.
            changed = sorted((flow for flow in changed if flow.rate > 0), key=Flow.seconds)[:1]
        for flow in changed:
            engine.after(flow.seconds(), self._through, flow, flow.turn)
        self.saying.look_at_load(now)

    def _wake(self, due: float) -> None:
        if due != self.wakes_at:
            return
        self.wakes_at = _NEVER
        if self.up:
            now = self.world.engine.now
            self.carry(now)
            self._go_on(now)

    def _read_meter(self) -> None:
        self.meter.look(self.world.engine.now)
        self.pipe.stopped = self.meter.stopped

    def _through(self, flow: Flow, turn: int) -> None:
        if turn != flow.turn or flow not in self.pipe.flows:
            return
        now = self.world.engine.now
        flow.move(now)
        if not flow.through:
            self.world.engine.after(flow.seconds(), self._through, flow, turn)
            return
        self.carry(now)
        self._end(flow, now)
        self._go_on(now)
        self.world.carried(flow)

    def _end(self, flow: Flow, now: float) -> None:
        flow.move(now)
        self.pipe.remove(flow)
        self._count(flow, now)
        for peer in (flow.src.id, flow.dst.id):
            left = self.of_peer.get(peer, 1) - 1
            if left > 0:
                self.of_peer[peer] = left
            else:
                self.of_peer.pop(peer, None)
        self.paying -= flow.weight > LIGHT

    def _count(self, flow: Flow, now: float) -> None:
        # Whole bytes, once each: what the sender sent is what was carried, paid for and received.
        if flow.through:
            flow.done, flow.left = flow.done + flow.left, 0.0
        n = round(flow.done) - flow.paid
        flow.paid += n
        if n > 0:
            self.carried += n
            self.world.count_bytes(self, n)
            flow.src.sent += n
            flow.dst.received += n
            self.books.carried(flow.who, n, now)
        if flow.promised:
            self.books.promise(flow.who, -flow.promised)
            flow.promised = 0

    # --- inside --------------------------------------------------------------------------------

    def _told(self, peer_id: bytes, request: object, reason: Reason, *_: object, **__: object) -> None:
        self.reason = reason
