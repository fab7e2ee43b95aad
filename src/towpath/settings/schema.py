"""The table of settings: every key with its kind, its default in each mode and its meaning. Everything else
reads this table.

The names are a contract with scripts and files; tests/unit/test_settings_schema.py compares them with the
structs of `towpath.settings`.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from towpath.settings.entries import (
    ItemList,
    account_size,
    bootstrap_multiaddr,
    multiaddr,
    peer_or_prefix,
    prefix,
)
from towpath.settings.schedule import OPEN, ScheduleKind
from towpath.settings.values import (
    AUTO,
    NONE,
    Bool,
    Choice,
    Count,
    FilePath,
    Kind,
    ListenAt,
    Rate,
    Size,
    Time,
    host_name,
)

__all__ = ["KEYS", "MODES", "Key"]

MODES: Final = ("client", "cooperative", "dedicated")

_LISTEN: Final = ["/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001"]


class Key(NamedTuple):
    """One setting. `defaults` are for client, cooperative and dedicated, in that order."""

    name: str
    kind: Kind
    defaults: tuple[Any, Any, Any]
    meaning: str
    later: bool = False
    """Is it only checked so far? Setting it then logs one line."""

    def default(self, mode: str) -> Any:
        """The value in a mode when nobody set it."""
        return self.kind.read(self.defaults[MODES.index(mode)])


def _same(value: Any) -> tuple[Any, Any, Any]:
    return (value, value, value)


def _dedicated(value: Any, dedicated: Any) -> tuple[Any, Any, Any]:
    return (value, value, dedicated)


_SIZE: Final = Size(1)
_COUNT: Final = Count(0)
_BOOL: Final = Bool()
_ADDRESSES: Final = ItemList(multiaddr, "multiaddrs such as /ip4/0.0.0.0/tcp/4001")
_ACCESS: Final = ItemList(peer_or_prefix, "peer ids and IP prefixes")

_TABLE: Final = (
    Key(
        "relay.mode",
        Choice(*MODES),
        _same("client"),
        "What the node does for others: nothing, relay within a volunteer's limits, or relay as its only job.",
    ),
    *(
        Key(
            f"relay.max_bandwidth_per_{period}",
            _SIZE,
            _dedicated(default, "unlimited"),
            f"Most that is relayed in {article} {period}: the larger of bytes sent and received on relay sockets.",
        )
        for article, period, default in (
            ("an", "hour", "500MB"),
            ("a", "day", "5GB"),
            ("a", "month", "100GB"),
        )
    ),
    Key(
        "relay.max_rate",
        Rate(1, auto=True),
        _dedicated(AUTO, "unlimited"),
        "How fast relay sockets are served at most. `auto`: half of the line's best seen upload, "
        "250kB/s until one was seen.",
    ),
    Key("relay.only_when_idle", _BOOL, _same(False), "Relay only while nobody uses the machine."),
    Key("relay.on_battery", _BOOL, _dedicated(False, True), "Relay on battery power also."),
    Key("relay.on_metered", _BOOL, _dedicated(False, True), "Relay on a metered network also."),
    Key("relay.queue_guard", _BOOL, _same(True), "Relaying never fills the line's own queue."),
    Key(
        "relay.schedule",
        ScheduleKind(),
        _same(OPEN),
        "Mode or rate by hour of the week, local time. Rules `DAYS HOURS WHAT`; later ones win.",
    ),
    Key("relay.priority_access", _BOOL, _same(True), "Show one's account to the relays one uses."),
    Key(
        "relay.max_reservations",
        _COUNT,
        _dedicated(128, 16384),
        "How many peers may hold a reservation at once.",
    ),
    Key("relay.max_circuits", _COUNT, _dedicated(256, 16384), "How many circuits may be open at once."),
    Key(
        "relay.max_circuits_per_peer",
        _COUNT,
        _dedicated(16, 64),
        "How many circuits one peer may have at once, whichever end it is.",
    ),
    Key(
        "relay.max_reservations_per_ip",
        _COUNT,
        _dedicated(8, 64),
        "How many reservations one IPv4 address, or one IPv6 /64, may hold at once.",
    ),
    Key(
        "relay.circuit_data",
        _SIZE,
        _same("unlimited"),
        "Most that one circuit carries in each direction. A limit makes go and js applications "
        "refuse it unless they opt in.",
    ),
    Key(
        "relay.circuit_duration",
        Time(1, 3650 * 86400),
        _same("unlimited"),
        "How long one circuit may last. A limit makes go and js applications refuse it unless they opt in.",
    ),
    Key(
        "relay.reservation_ttl",
        Time(1, 30 * 86400, unlimited=False),
        _same("1h"),
        "How long a reservation holds before it must be refreshed.",
    ),
    Key(
        "relay.drain_grace",
        Time(0, 30 * 86400),
        _same("1m"),
        "How long open circuits may go on when relaying ends: paused, switched off or not allowed by the hour.",
    ),
    Key("relay.allow", _ACCESS, _same([]), "Who may reserve and connect; empty: everybody."),
    Key("relay.deny", _ACCESS, _same([]), "Who may not; wins over `relay.allow`."),
    Key(
        "credits.enforce",
        Choice("under_load", "always", "never"),
        _same("under_load"),
        "When relaying for others is asked in return: while the relay is loaded, always or never.",
    ),
    Key(
        "credits.free_tier",
        _SIZE,
        _same("1GiB"),
        "What each account, and each IPv4 /24 or IPv6 /56, may have relayed for nothing.",
    ),
    Key("credits.free_tier_refill", Rate(0), _same("50MB/h"), "How fast that fills up again."),
    Key(
        "credits.trust",
        ItemList(account_size, "accounts and sizes such as 12D3KooW…=10GiB"),
        _same([]),
        "Accounts that this relay owes so much without a receipt; used up, and back after a while, as any credit.",
    ),
    Key(
        "credits.share_digest",
        _BOOL,
        _same(False),
        "Tell others, a day late and in powers of two, which relays one's account paid. Others must reach the node.",
    ),
    Key(
        "client.use_volunteer_relays",
        _BOOL,
        _same(True),
        "Use relays that volunteers run; else bootstrap relays only.",
    ),
    Key("client.hide_ip", _BOOL, _same(True), "Keep one's address from the peers one talks to."),
    Key(
        "client.allow_direct",
        Choice("never", "ask", "always"),
        _same("ask"),
        "Connect directly when no relay works. With nobody to ask, `ask` is `never`, with an event.",
    ),
    Key("discovery.mdns", _BOOL, _same(True), "Look for relays on the local network."),
    Key("discovery.dht", _BOOL, _same(True), "Look for relays in towpath's own DHT."),
    Key(
        "discovery.public_dht",
        _BOOL,
        _same(False),
        "Serve the public DHT, where go and js look for relays.",
    ),
    Key(
        "discovery.bootstrap",
        ItemList(bootstrap_multiaddr, "multiaddrs that end in /p2p/ID, or /dnsaddr/NAME"),
        _same([]),
        "Relays to begin with; a network needs a first one or two.",
    ),
    Key(
        "network.listen",
        _ADDRESSES,
        ([], _LISTEN, _LISTEN),
        "Where the relay listens.",
    ),
    Key("network.announce", _ADDRESSES, _same([]), "Addresses to tell others; they count as confirmed."),
    Key(
        "network.port_mapping",
        _BOOL,
        (False, True, True),
        "Ask the router to let relay connections in (PCP, NAT-PMP, UPnP).",
    ),
    Key(
        "network.public_ranges",
        ItemList(prefix, "IP prefixes"),
        _same([]),
        "Prefixes to treat as public, for laboratories.",
    ),
    Key(
        "network.max_connections",
        Count(1, auto=True),
        _same(AUTO),
        "How many connections may be open at once. `auto`: as many as the limit of open files leaves room for.",
    ),
    Key(
        "network.workers",
        Count(1, 256, unlimited=False),
        _same(1),
        "How many processes carry data.",
        later=True,
    ),
    Key(
        "native.aead",
        Choice("auto", "libsodium", "openssl"),
        _same("auto"),
        "Which library encrypts. `auto`: the one that is faster on this machine.",
    ),
    Key(
        "web.listen",
        ListenAt(),
        _same("127.0.0.1:4080"),
        "Where the web page is served; the default moves to the next free port.",
    ),
    Key(
        "web.names",
        ItemList(host_name, "host names"),
        _same([]),
        "Names under which the page is opened, besides localhost and addresses; others are refused.",
    ),
    Key(
        "web.certificate",
        FilePath(),
        _same(NONE),
        "Certificates (PEM) of the page, its own first; serves it by TLS.",
    ),
    Key("web.certificate_key", FilePath(), _same(NONE), "The private key of `web.certificate` (PEM)."),
    Key(
        "web.without_tls",
        _BOOL,
        _same(False),
        "Serve the page without TLS to other machines also: who listens on the way can then change this node.",
    ),
    Key("metrics.listen", ListenAt(), _same(NONE), "Where Prometheus may fetch metrics."),
    Key(
        "log.level",
        Choice("debug", "info", "warning", "error"),
        _same("info"),
        "The least urgent events that are logged.",
    ),
    Key(
        "log.format",
        Choice("auto", "text", "json"),
        _same("auto"),
        "How events are logged. `auto`: to systemd's journal where stderr leads there, as text on a terminal, "
        "else as JSON lines.",
    ),
    Key("log.addresses", _BOOL, _same(False), "Log network addresses; hidden otherwise."),
)

KEYS: Final = {key.name: key for key in _TABLE}
