"""Asks the node behind a digest for the receipts that bear it out, under an identity that is thrown away.

A digest is believed as far as that goes, and no further. Asked is seldom, and only of what may matter: whoever sends
digests decides whom we ask otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from towpath.addresses import parse
from towpath.client.dialing import Dialer
from towpath.credits.receipts import ReceiptError, Signed, read_dual
from towpath.errors import DialError, TowpathError
from towpath.reputation.digest import backs

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint
    from towpath._native.session import Session
    from towpath.reputation.digest import Digest

__all__ = ["ask", "borne_out"]

ASK_S: Final = 15.0


def borne_out(digest: Digest, raws: Sequence[bytes]) -> list[Signed]:
    """Of what was shown the receipts that bear out what a digest says: by its payer, of its day, of as much."""
    found: dict[bytes, Signed] = {}
    for raw in raws:
        try:
            signed = read_dual(raw)
        except ReceiptError:
            continue
        receipt = signed.receipt
        if (receipt.payer, receipt.day) == (digest.payer, digest.day) and backs(
            digest, receipt.relay, receipt.cum_bytes
        ):
            found[receipt.relay] = signed
    return list(found.values())


async def ask(make: Callable[[], Endpoint], digest: Digest, addresses: Sequence[str]) -> list[Signed]:
    """The receipts behind a digest, as the node at these addresses of `digest.at` shows them. `make()` gives an
    endpoint with a fresh key. TowpathError or OSError when it is not reached, or shows nothing.
    """
    parsed = [parse(text) for text in addresses]
    if not parsed or any(address.peer_id != digest.at for address in parsed):
        raise DialError("no address of the node behind a digest is known")
    endpoint, identified = make(), asyncio.Event()

    def known(session: Session) -> None:
        identified.set()

    def ended(session: Session, why: str) -> None:
        identified.set()

    endpoint.on_identified = known
    endpoint.on_session_end = ended
    dialer = Dialer(endpoint)
    try:
        async with asyncio.timeout(ASK_S):
            session = await dialer.connect(*parsed)
            if session.protocols is None and not session.closed:
                await identified.wait()
            raws = await dialer.control.look_up_receipts(session, digest.payer, digest.day)
    except TimeoutError as error:
        raise TowpathError("the node behind a digest does not answer") from error
    finally:
        endpoint.close()
        with contextlib.suppress(OSError):
            endpoint.abort()
    return borne_out(digest, raws)
