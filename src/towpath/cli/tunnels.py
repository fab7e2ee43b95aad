"""`towpath share` and `towpath open`: a TCP service here, reached from there."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from towpath.addresses import peer_id_to_bytes, peer_id_to_text
from towpath.cli import UsageError, options
from towpath.cli.light import MAX_RELAYS, light_settings, relay_hints, run_until_stopped
from towpath.cli.options import Bootstrap, Data, Json, Listen, Service
from towpath.cli.output import print_json, print_line, quantity, waiting
from towpath.cli.places import data_directory, locked, replace_file
from towpath.client.ticket import SECRET_SIZE, Ticket, new_secret
from towpath.client.tunnel import PROTOCOL, Opener, Report, Share
from towpath.errors import AddressError, NoRelaysAvailable, TicketError, TowpathError
from towpath.log import short_peer_id
from towpath.node import Node
from towpath.settings.values import HostPort

__all__ = ["open_", "share"]

RESERVE_TIMEOUT: Final = 15.0


def share(
    service: Service,
    /,
    *,
    once: Annotated[bool, Parameter(negative="", show_default=False, help="Serve one connection, then stop.")] = False,
    expires: Annotated[
        float | None,
        Parameter(converter=options.seconds, n_tokens=1, metavar="TIME", help="When the ticket ends: 90s, 2h, 7d."),
    ] = None,
    allow: Annotated[
        list[str] | None, Parameter(negative="", metavar="PEER", help="Only this peer id may connect; repeatable.")
    ] = None,
    bootstrap: Bootstrap = None,
    data: Data = None,
    as_json: Json = False,
) -> int:
    """Make a TCP service reachable through relays; prints the ticket for `open`.

    Goes on until stopped, until the ticket expires, or with --once until one connection was served.
    """
    try:
        allowed = [peer_id_to_text(peer_id_to_bytes(peer)) for peer in allow or ()]
    except AddressError as e:
        raise UsageError(f"--allow takes a peer id: {e}") from e
    directory = data_directory(data)
    settings = light_settings(directory, bootstrap or [])
    hints = relay_hints(settings, directory)
    # Each service has an id and a secret of its own, kept here so that its ticket stays good when this
    # starts again.
    own = directory / "shares" / hashlib.sha256(str(service).encode()).hexdigest()[:16]
    with locked(own, f"{service} is being shared already, by process {{pid}}; stop that `towpath share` first"):
        kept = _Kept.load(own / "share.json", service, expires, now=time.time())
        return run_until_stopped(_share(Node(settings, data=own), kept, hints, allowed, once=once, as_json=as_json))


async def _share(
    node: Node, kept: _Kept, hints: Sequence[str], allow: Sequence[str], *, once: bool, as_json: bool
) -> int:
    shared = Share(
        kept.service,
        kept.secret,
        expires_at=kept.expires_at,
        allow=allow,
        once=once,
        report=_reporter(as_json=as_json),
        doubt=node.doubt,
    )
    async with node, shared:
        node.set_stream_handler(PROTOCOL, shared.serve)
        with waiting("Reserving at a relay"):
            held = await _hold(node, hints)
        # The others were told to us as relays, too: after a restart we may be at one of them.
        relays = list(dict.fromkeys([*held, *hints]))[:MAX_RELAYS]
        with _telling(node, shared):
            ticket = Ticket(node.peer_id, tuple(relays), kept.secret, kept.expires_at).encode()
            if as_json:
                facts = {"peer_id": node.peer_id, "service": str(kept.service), "relays": relays}
                print_json({"event": "shared", "ticket": ticket, **facts, "expires_at": kept.expires_at})
            else:
                print_line(f"{kept.service} can be reached with this ticket, by whoever has it:\n\n{ticket}\n")
                print_line("There, type: towpath open TICKET\nTCP only, no UDP. Stop sharing with Ctrl-C.")
            try:
                async with asyncio.timeout(kept.left(time.time())):
                    await shared.finished.wait()
            except TimeoutError:
                print_json({"event": "expired"}) if as_json else print_line("The ticket has expired.")
                kept.forget()
                return 0
            # The ticket was for one connection, so the next one gets another secret.
            kept.forget()
            return 0


async def _hold(node: Node, hints: Sequence[str]) -> list[str]:
    try:
        return await node.hold_reservations(hints, timeout=RESERVE_TIMEOUT)
    except NoRelaysAvailable as e:
        if e.tried:
            raise
        raise NoRelaysAvailable(["none was found: name one with --bootstrap /ip4/ADDRESS/tcp/PORT/p2p/ID"]) from e


@contextlib.contextmanager
def _telling(node: Node, shared: Share) -> Iterator[None]:
    """Tells who follows the share where it can be met."""

    def tell() -> None:
        shared.meet_at(node.held_relays())

    undo = node.on_relays_changed(tell)
    tell()
    try:
        yield
    finally:
        undo()


class _Kept:
    """What a share keeps on disk: the secret, and until when it is good."""

    def __init__(self, path: Path, service: HostPort, secret: bytes, expires_at: int | None) -> None:
        self.service = service
        self.secret = secret
        self.expires_at = expires_at
        self._path = path

    @classmethod
    def load(cls, path: Path, service: HostPort, expires: float | None, *, now: float) -> _Kept:
        """The kept secret, unless there is none or its time is over; `expires` counts from now and replaces
        its time.
        """
        secret, expires_at = new_secret(), None
        try:
            found = json.loads(path.read_bytes())
            kept, until = bytes.fromhex(found["secret"]), found["expires_at"]
            if len(kept) == SECRET_SIZE and (until is None or (isinstance(until, int) and now < until)):
                secret, expires_at = kept, until
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise TowpathError(f"{path} is damaged ({e}); delete it to get a new ticket") from e
        if expires is not None:
            expires_at = math.ceil(now + expires)
        replace_file(path, {"service": str(service), "secret": secret.hex(), "expires_at": expires_at})
        return cls(path, service, secret, expires_at)

    def left(self, now: float) -> float | None:
        """Seconds until it expires; None when it never does."""
        return None if self.expires_at is None else max(0.0, self.expires_at - now)

    def forget(self) -> None:
        """Lets no ticket made of this secret work again."""
        self._path.unlink(missing_ok=True)


def open_(
    ticket: Annotated[str, Parameter(help="The text that `share` printed.")],
    /,
    *,
    listen: Listen = HostPort("127.0.0.1", 0),  # noqa: B008 - immutable
    bootstrap: Bootstrap = None,
    data: Data = None,
    as_json: Json = False,
) -> int:
    """Reach the service behind a ticket: listens here until stopped, and carries every connection there."""
    try:
        found = Ticket.decode(ticket)
    except TicketError as e:
        raise UsageError(str(e)) from e
    if found.expired(time.time()):
        raise TicketError("the ticket has expired; ask for a new one")
    directory = data_directory(data)
    settings = light_settings(directory, [*found.relays, *(bootstrap or [])])
    relays = dict.fromkeys([*found.relays, *settings.discovery.bootstrap])
    return run_until_stopped(
        _open(
            Node(settings, data=directory, reachable=False),
            found._replace(relays=tuple(relays)),
            listen,
            as_json=as_json,
        )
    )


async def _open(node: Node, ticket: Ticket, listen: HostPort, *, as_json: bool) -> int:
    opener = Opener(node, ticket, report=_reporter(as_json=as_json))
    try:
        at = opener.listen(listen)
    except OSError as e:
        reason = e.strerror or str(e)
        raise TowpathError(f"cannot listen on {listen}: {reason}; choose another place with --listen HOST:PORT") from e
    async with node, opener:
        node.on_relays_changed(opener.ways.note)
        with waiting("Reaching the sharer"):
            via = await opener.reach()
        url = f"http://{at}/"
        if as_json:
            print_json({"event": "open", "listen": str(at), "url": url, "via": via})
        else:
            print_line(f"What connects to {at} reaches the service. If that is a web page: {url}")
            print_line(f"Connected through {short_peer_id(via)}. TCP only, no UDP. Stop with Ctrl-C.")
        await opener.serve()
    return 0


def _reporter(*, as_json: bool) -> Report:
    """Says what happens to connections."""
    sentences = {
        "connection_opened": lambda f: "A connection was opened" + (f" through {f['via']}." if f.get("via") else "."),
        "connection_moved": lambda f: (
            f"A connection goes on through {short_peer_id(f['via'])}"
            + (f", after {f['stalled_s']:.1f} s." if "stalled_s" in f else ".")
        ),
        "connection_closed": lambda f: (
            f"A connection ended: {quantity(f['sent'])} sent, {quantity(f['received'])} received."
        ),
        "peer_connected": lambda f: (
            f"{f['peer']} is connected" + (f" through {short_peer_id(f['via'])}." if f.get("via") else ".")
        ),
        "peer_left": lambda f: f"{f['peer']} is gone.",
        "connection_failed": lambda f: f"A connection failed: {f['reason']}",
        "connection_refused": lambda f: f"A connection from {short_peer_id(f['peer'])} was refused (code {f['code']}).",
        "service_unreachable": lambda f: f"{f['service']} does not answer: {f['reason']}",
    }

    def report(event: str, **facts: Any) -> None:
        if as_json:
            print_json({"event": event, **facts})
        else:
            print_line(sentences[event](facts))

    return report
