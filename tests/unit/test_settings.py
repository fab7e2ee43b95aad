"""Settings: where they come from, what is refused and how, and that the table is the contract's."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest

from towpath.errors import SettingsError
from towpath.settings import UNLIMITED, HostPort, RelayMode, Settings
from towpath.settings.document import document
from towpath.settings.file import change
from towpath.settings.schema import KEYS, MODES
from towpath.settings.values import AUTO

# key: default of a client, of a cooperative node, of a dedicated one
CONTRACT = {
    "relay.mode": ("client", "client", "client"),
    "relay.max_bandwidth_per_hour": (500_000_000, 500_000_000, UNLIMITED),
    "relay.max_bandwidth_per_day": (5_000_000_000, 5_000_000_000, UNLIMITED),
    "relay.max_bandwidth_per_month": (100_000_000_000, 100_000_000_000, UNLIMITED),
    "relay.max_rate": (AUTO, AUTO, UNLIMITED),
    "relay.only_when_idle": (False, False, False),
    "relay.on_battery": (False, False, True),
    "relay.on_metered": (False, False, True),
    "relay.queue_guard": (True, True, True),
    "relay.schedule": (("open",) * 168,) * 3,
    "relay.priority_access": (True, True, True),
    "relay.max_reservations": (128, 128, 16384),
    "relay.max_circuits": (256, 256, 16384),
    "relay.max_circuits_per_peer": (16, 16, 64),
    "relay.max_reservations_per_ip": (8, 8, 64),
    "relay.circuit_data": (UNLIMITED,) * 3,
    "relay.circuit_duration": (UNLIMITED,) * 3,
    "relay.reservation_ttl": (3600, 3600, 3600),
    "relay.drain_grace": (60, 60, 60),
    "relay.allow": ((), (), ()),
    "relay.deny": ((), (), ()),
    "credits.enforce": ("under_load",) * 3,
    "credits.free_tier": (2**30,) * 3,
    "credits.free_tier_refill": (50e6 / 3600,) * 3,
    "credits.trust": ((),) * 3,
    "credits.share_digest": (False, False, False),
    "client.use_volunteer_relays": (True, True, True),
    "client.hide_ip": (True, True, True),
    "client.allow_direct": ("ask",) * 3,
    "discovery.mdns": (True, True, True),
    "discovery.dht": (True, True, True),
    "discovery.public_dht": (False, False, False),
    "discovery.bootstrap": ((), (), ()),
    "network.listen": ((), *[("/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001")] * 2),
    "network.announce": ((), (), ()),
    "network.port_mapping": (False, True, True),
    "network.public_ranges": ((), (), ()),
    "network.max_connections": (AUTO,) * 3,
    "network.workers": (1, 1, 1),
    "native.aead": ("auto",) * 3,
    "web.listen": (HostPort("127.0.0.1", 4080),) * 3,
    "web.names": ((),) * 3,
    "web.certificate": (None,) * 3,
    "web.certificate_key": (None,) * 3,
    "web.without_tls": (False,) * 3,
    "metrics.listen": (None, None, None),
    "log.level": ("info",) * 3,
    "log.format": ("auto",) * 3,
    "log.addresses": (False, False, False),
}

NOT_LIMITED = {"relay.reservation_ttl", "network.workers"}
PEER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"


def load(overrides: dict[str, object] | None = None, **more: typing.Any) -> Settings:
    return Settings.load(overrides, **{"environ": {}, **more})


def test_the_keys_and_their_defaults_are_the_contracts() -> None:
    assert list(KEYS) == list(CONTRACT)
    for column, mode in enumerate(MODES):
        for name, defaults in CONTRACT.items():
            assert KEYS[name].default(mode) == defaults[column], (name, mode)


def test_every_key_is_an_attribute() -> None:
    settings = load()
    for name in KEYS:
        section, _, field = name.partition(".")
        assert getattr(getattr(settings, section), field) == settings.get(name)
    for section in ("relay", "credits", "client", "discovery", "network", "native", "web", "metrics", "log"):
        for field in getattr(settings, section).__struct_fields__:
            assert f"{section}.{field}" in KEYS


@pytest.mark.parametrize("mode", MODES)
def test_defaults_follow_the_mode(mode: str) -> None:
    settings = load({"relay.mode": mode})
    assert settings.relay.mode is RelayMode(mode)
    assert settings.relay.max_circuits == CONTRACT["relay.max_circuits"][MODES.index(mode)]


def test_every_default_is_written_as_it_is_read() -> None:
    for mode in MODES:
        settings = load({"relay.mode": mode})
        again = load({name: settings.written(name) for name in KEYS})
        assert all(again.get(name) == settings.get(name) for name in KEYS)


@pytest.mark.parametrize("name", [name for name, key in KEYS.items() if hasattr(key.kind, "unlimited")])
def test_unlimited_is_a_value_of_every_limit(name: str) -> None:
    if name in NOT_LIMITED:
        with pytest.raises(SettingsError):
            load({name: "unlimited"})
    else:
        assert load({name: "unlimited"}).get(name) is UNLIMITED


def test_a_later_source_wins(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[relay]\nmode = "dedicated"\nmax_circuits = 1\nmax_reservations = 1\n')
    environ = {"TOWPATH_RELAY__MAX_CIRCUITS": "2", "TOWPATH_RELAY__MAX_CIRCUITS_PER_PEER": "2", "TOWPATH_DATA": "x"}
    settings = Settings.load({"relay.max_circuits_per_peer": 3}, data=tmp_path, environ=environ)
    relay = settings.relay
    assert (relay.mode, relay.max_reservations, relay.max_circuits, relay.max_circuits_per_peer) == (
        "dedicated",
        1,
        2,
        3,
    )
    assert relay.max_reservations_per_ip == 64
    assert settings.source("relay.mode") == str(tmp_path / "config.toml")
    assert settings.source("relay.max_circuits") == "environment TOWPATH_RELAY__MAX_CIRCUITS"
    assert settings.source("relay.deny") == "default"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("relay.mod", "relay.mode"),
        ("max_circuits", "relay.max_circuits"),
        ("network.bootstrap", "discovery.bootstrap"),
        ("RELAY.MODE", "relay.mode"),
        ("relay.max_bandwith_per_day", "relay.max_bandwidth_per_day"),
        ("nonsense", None),
    ],
)
def test_a_wrong_key_names_itself_its_value_the_nearest_right_key_and_what_that_takes(
    wrong: str, right: str | None
) -> None:
    with pytest.raises(SettingsError) as caught:
        load({wrong: "12"}, source="--set")
    error = caught.value
    assert (error.key, error.value, error.source) == (wrong, "12", "--set")
    assert error.nearest in KEYS
    if right is not None:
        assert error.nearest == right
    for part in (wrong, "12", error.nearest, KEYS[error.nearest].kind.allowed):
        assert part in str(error)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("relay.mode", "server"),
        ("relay.max_circuits", "-1"),
        ("relay.max_circuits", "1.5"),
        ("relay.max_circuits", True),
        ("relay.max_circuits", "9" * 30),
        ("relay.circuit_data", "0"),
        ("relay.circuit_data", "12 parsecs"),
        ("relay.circuit_data", "1.0000000001KiB"),
        ("relay.circuit_duration", "90" + "0" * 20),
        ("relay.circuit_duration", float("nan")),
        ("relay.max_rate", "20Mbit"),
        ("relay.max_rate", "fast"),
        ("relay.max_rate", "0B/s"),
        ("relay.reservation_ttl", "31d"),
        ("relay.only_when_idle", "maybe"),
        ("relay.allow", "somebody"),
        ("relay.allow", ["192.0.2.1/24"]),
        ("relay.allow", [7]),
        ("relay.schedule", "mon 25-26 off"),
        ("relay.schedule", "someday 09-17 off"),
        ("relay.schedule", ["mon 09-17"]),
        ("relay.schedule", "mon 09-17 quickly"),
        ("discovery.bootstrap", ["/ip4/192.0.2.1/tcp/4001"]),
        ("discovery.bootstrap", [f"/ip4/192.0.2.1/udp/4001/quic-v1/p2p/{PEER}"]),
        ("network.listen", [f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}"]),
        ("network.listen", 4001),
        ("network.public_ranges", "10.0.0.0/33"),
        ("network.workers", 0),
        ("web.listen", "4080"),
        ("web.listen", "[::1:4080"),
        ("web.names", "a b"),
        ("web.certificate", " "),
        ("log.level", "loud"),
    ],
)
def test_a_wrong_value_names_the_key_the_value_and_what_is_allowed(key: str, value: object) -> None:
    with pytest.raises(SettingsError) as caught:
        load({key: value})
    assert caught.value.key == key
    assert caught.value.nearest is None
    assert all(part in str(caught.value) for part in (key, repr(value), KEYS[key].kind.allowed))


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("relay.circuit_data", "500MB", 500_000_000),
        ("relay.circuit_data", "2GiB", 2**31),
        ("relay.circuit_data", "1.5 kib", 1536),
        ("relay.circuit_data", 12, 12),
        ("relay.max_rate", "20Mbit/s", 2_500_000.0),
        ("relay.max_rate", "3MB/s", 3_000_000.0),
        ("relay.max_rate", "1MiB/min", 2**20 / 60),
        ("relay.max_rate", 5, 5.0),
        ("relay.max_rate", "auto", AUTO),
        ("relay.circuit_duration", "90s", 90.0),
        ("relay.circuit_duration", "1h30m", 5400.0),
        ("relay.circuit_duration", "2.5min", 150.0),
        ("relay.circuit_duration", "2500ms", 2.5),
        ("relay.circuit_duration", 7, 7.0),
        ("relay.only_when_idle", "yes", True),
        (
            "relay.allow",
            f"{PEER}, 192.0.2.0/24,2001:db8::/32,198.51.100.7",
            (PEER, "192.0.2.0/24", "2001:db8::/32", "198.51.100.7/32"),
        ),
        ("network.listen", '["/ip4/127.0.0.1/tcp/1", "/ip6/0::1/tcp/2"]', ("/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/2")),
        ("discovery.bootstrap", f"/dns4/relay.example/tcp/1/ipfs/{PEER}", (f"/dns4/relay.example/tcp/1/p2p/{PEER}",)),
        ("web.listen", "[::1]:80", HostPort("::1", 80)),
        ("metrics.listen", "localhost:9100", HostPort("localhost", 9100)),
        ("web.listen", "none", None),
        ("web.names", "Relay.Example.org, two", ("relay.example.org", "two")),
        ("web.certificate", "/etc/ssl/own.pem", "/etc/ssl/own.pem"),
        ("network.max_connections", "5000", 5000),
    ],
)
def test_values_are_read_as_people_write_them(key: str, text: object, value: object) -> None:
    assert load({key: text}).get(key) == value


def test_a_week_is_read_hour_by_hour() -> None:
    week = load({"relay.schedule": "mon-fri 09-17 off; sat,sun 22-02 20Mbit/s, wed 12-13 dedicated"}).relay.schedule
    assert [week.at(0, hour) for hour in (8, 9, 16, 17)] == ["open", "off", "off", "open"]
    assert week.at(2, 12) == "dedicated"
    assert [week.at(day, hour) for day, hour in ((5, 21), (5, 22), (6, 1), (0, 1), (0, 2))] == [
        "open",
        2_500_000.0,
        2_500_000.0,
        2_500_000.0,
        "open",
    ]
    assert not week.always_open
    assert load().relay.schedule.always_open


def test_nothing_is_half_applied(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("# mine\n[relay]\nmode = 'dedicated' # yes\n")
    before = path.read_text()
    with pytest.raises(SettingsError):
        change(tmp_path, {"log.level": "debug", "relay.max_circuits": "many"}, source="--set")
    assert path.read_text() == before
    assert [file.name for file in tmp_path.iterdir()] == ["config.toml"]


def test_changing_the_file_keeps_its_comments_and_order(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("# mine\n[relay]\nmode = 'dedicated' # yes\nmax_circuits = 7\n\n[log]\nlevel = 'debug'\n")
    changes = {"relay.max_circuits": "unlimited", "relay.deny": PEER, "web.listen": "none", "client.hide_ip": "no"}
    settings = change(tmp_path, changes, source="--set")
    text = path.read_text()
    assert "# mine\n[relay]\nmode = 'dedicated' # yes\nmax_circuits = \"unlimited\"\n" in text
    assert text.index("[log]") < text.index("[web]")
    again = load(data=tmp_path)
    assert all(again.get(name) == settings.get(name) for name in KEYS)
    assert again.client.hide_ip is False
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_is_given_back_to_its_default(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("# mine\n[relay]\nmode = 'dedicated' # yes\nmax_circuits = 7 # few\n")
    settings = change(tmp_path, {"relay.max_circuits": None, "log.level": None}, source="--set")
    assert path.read_text() == "# mine\n[relay]\nmode = 'dedicated' # yes\n"
    assert settings.relay.max_circuits == load(data=tmp_path).relay.max_circuits == 16384
    assert settings.source("relay.max_circuits") == "default"
    with pytest.raises(SettingsError, match="max_circuit"):
        change(tmp_path, {"relay.max_circuit": None}, source="--set")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[relay", "not TOML"),
        ("[relay]\nmode = 1", "relay.mode"),
        ("[rely]\nmode = 'client'", "rely.mode"),
        ("relay = 7", "relay"),
        ("[relay.mode]\nx = 1", "relay.mode.x"),
        ("mode = 'client'", "mode"),
    ],
)
def test_a_wrong_file_is_refused_and_named(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(SettingsError, match=named.replace(".", r"\.")) as caught:
        load(data=tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="TOWPATH_RELAY__MOD") as caught:
        Settings.load(environ={"TOWPATH_RELAY__MOD": "client"})
    assert caught.value.nearest == "relay.mode"


def test_a_changed_mode_brings_its_own_defaults_and_keeps_what_was_set() -> None:
    before = load({"relay.max_circuits": 7})
    after = before.changed({"relay.mode": "dedicated"})
    assert (after.relay.max_circuits, after.relay.max_reservations) == (7, 16384)
    assert (before.relay.mode, before.relay.max_reservations) == ("client", 128)


def test_keys_that_are_only_checked_so_far_are_named_when_set() -> None:
    settings = load({"network.workers": 2, "relay.max_circuits": 1, "relay.max_rate": "unlimited"})
    assert [key.name for key in settings.without_effect_yet()] == ["network.workers"]
    assert load().without_effect_yet() == []


def test_as_many_connections_as_descriptors_leave_room_for() -> None:
    assert load().network.connection_limit(1024) == 896
    assert load().network.connection_limit(8) == 16
    assert load().network.connection_limit(None) is None
    assert load({"network.max_connections": 5}).network.connection_limit(1024) == 5
    assert load({"network.max_connections": "unlimited"}).network.connection_limit(1024) is None


def test_the_page_of_settings_is_made_from_the_schema() -> None:
    page = Path(__file__).parents[2] / "docs" / "settings.md"
    assert page.read_text() == document(), "run `python -m towpath.settings.document > docs/settings.md`"
