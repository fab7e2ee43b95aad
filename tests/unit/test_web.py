"""The page's place: who is let in and who is not, what is served and how, and the command that opens it."""

from __future__ import annotations

import asyncio
import datetime
import hmac
import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.unit.controlled import DoubleNode
from towpath.cli import page as command
from towpath.control.late import LateServer
from towpath.control.paths import listen, socket_path
from towpath.errors import TowpathError
from towpath.settings import Settings
from towpath.web.place import TOKEN_FILE, Place, address_to_keep, address_to_open, open_place
from towpath.web.serving import HEADERS

ANYWHERE = {"web.listen": "127.0.0.1:0"}
Served = Callable[..., Awaitable["Answer"]]


class Answer:
    """An answer, taken apart."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def settings(**given: Any) -> Settings:
    return Settings.load(ANYWHERE | {name.replace("__", "."): value for name, value in given.items()}, environ={})


def opened(data: Path, **given: Any) -> Place:
    found = open_place(settings(**given), data)
    assert found is not None
    return found


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    return opened(tmp_path, **getattr(request, "param", {}))


@pytest.fixture
def node() -> DoubleNode:
    return DoubleNode()


@pytest_asyncio.fixture
async def ask(place: Place, node: DoubleNode, tmp_path: Path) -> AsyncIterator[Served]:
    """`await ask(method, path, **headers)` from the page's server; without Host it is asked as it is named."""
    failures: list[BaseException] = []
    server = LateServer(node, listen(socket_path(tmp_path)), None, failures.append, place)
    host, port = place.sock.getsockname()[:2]
    server.start()

    async def call(
        method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"", *, token: bool = True
    ) -> Answer:
        given = {"Host": f"{host}:{port}", "Connection": "close", "Content-Length": str(len(body))}
        given |= {"Authorization": f"Bearer {place.token}"} if token else {}
        given |= headers or {}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value), "", ""]
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write("\r\n".join(lines).encode("latin-1") + body)
            raw = await reader.read()
        writer.close()
        return Answer(raw)

    yield call
    await server.stop()
    assert not failures


# --- who is let in --------------------------------------------------------------------------------


async def test_the_api_answers_who_has_the_token(ask: Served) -> None:
    assert (await ask("GET", "/v1/status")).json["mode"] == "dedicated"
    assert (await ask("POST", "/v1/pause", body=b'{"time": "1h"}')).json["state"] == "paused"


@pytest.mark.parametrize(
    "said",
    ["", "Bearer", "Bearer ", "Bearer x", "Bearer {token}x", "Bearer {short}", "Basic {token}", "{token}", "Bearer é"],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/status"), ("POST", "/v1/resume"), ("GET", "/v1/events"), ("GET", "/metrics"), ("GET", "/v1/nothing")],
)
async def test_nobody_else_is_answered(
    ask: Served, place: Place, node: DoubleNode, said: str, method: str, path: str
) -> None:
    given = said.format(token=place.token, short=place.token[:-1])
    answer = await ask(method, path, {"Authorization": given}, token=False)
    assert answer.status == HTTPStatus.UNAUTHORIZED
    assert "towpath web" in answer.json["error"]
    assert node.asked == []


async def test_a_token_in_the_query_or_in_a_cookie_is_none(ask: Served, place: Place) -> None:
    for path, headers in ((f"/v1/status?token={place.token}", {}), ("/v1/status", {"Cookie": f"token={place.token}"})):
        assert (await ask("GET", path, headers, token=False)).status == HTTPStatus.UNAUTHORIZED


async def test_a_ticket_is_exchanged_for_the_token_once(ask: Served, place: Place, tmp_path: Path) -> None:
    ticket = address_to_open(tmp_path, place.url).partition("#ticket=")[2]
    foreign = await ask("POST", "/ticket", {"Origin": "http://evil.example"}, ticket.encode(), token=False)
    assert foreign.status == HTTPStatus.FORBIDDEN
    answer = await ask("POST", "/ticket", None, ticket.encode(), token=False)
    assert (answer.status, answer.json) == (HTTPStatus.OK, {"token": place.token})
    assert answer.headers["cache-control"] == "no-store"
    for said in (ticket, "", "nonsense", place.token, "\xff"):
        answer = await ask("POST", "/ticket", None, said.encode("latin-1"), token=False)
        assert answer.status == HTTPStatus.UNAUTHORIZED
        assert "towpath web" in answer.json["error"]
    long = await ask("POST", "/ticket", None, b"x" * 1000, token=False)
    assert long.status == HTTPStatus.UNAUTHORIZED
    assert (await ask("GET", "/v1/status", {"Authorization": f"Bearer {ticket}"})).status == HTTPStatus.UNAUTHORIZED


NONCE = "0123456789abcdef" * 2


def mac(secret: str, said: str) -> str:
    return hmac.new(secret.encode(), said.encode(), "sha256").hexdigest()


async def test_it_proves_to_whoever_asks_that_it_knows_the_token(ask: Served, place: Place) -> None:
    answer = await ask("POST", "/proof", None, NONCE.encode(), token=False)
    said, port = answer.json, place.sock.getsockname()[1]
    assert (answer.status, said["port"], len(said["run"])) == (HTTPStatus.OK, port, 32)
    assert said["proof"] == mac(place.token, f"towpath page proof {said['run']} {port} {NONCE}")
    assert answer.headers["cache-control"] == "no-store"
    assert place.token not in answer.body.decode()
    # What the page says from then on, and only here and now.
    for where, status in ((port, HTTPStatus.OK), (port + 1, HTTPStatus.UNAUTHORIZED)):
        own = mac(place.token, f"towpath page session {said['run']} {where}")
        assert (await ask("GET", "/v1/status", {"Authorization": f"Bearer {own}"}, token=False)).status == status
    for of in (said["proof"], said["run"]):
        answer = await ask("GET", "/v1/status", {"Authorization": f"Bearer {of}"}, token=False)
        assert answer.status == HTTPStatus.UNAUTHORIZED


async def test_it_proves_to_who_has_a_ticket_only_that_it_knows_that(ask: Served, place: Place, tmp_path: Path) -> None:
    said, _, secret = address_to_open(tmp_path, place.url).partition("#ticket=")[2].rpartition(".")
    answer = (await ask("POST", "/proof", None, f"{NONCE} {said}".encode(), token=False)).json
    assert answer["proof"] == mac(secret, f"towpath page proof {answer['run']} {answer['port']} {NONCE}")
    # Asking does not use it up.
    assert (await ask("POST", "/ticket", None, f"{said}.{secret}".encode(), token=False)).json["token"] == place.token


@pytest.mark.parametrize("question", ["", "x", NONCE[1:], f"{NONCE} ", f"{NONCE} 1.{NONCE}x", f"{NONCE}\n", "0" * 500])
async def test_any_other_question_proves_nothing(ask: Served, question: str) -> None:
    answer = await ask("POST", "/proof", None, question.encode(), token=False)
    assert answer.status == HTTPStatus.BAD_REQUEST
    assert "proof" not in answer.json


async def test_another_page_is_proven_nothing(ask: Served) -> None:
    answer = await ask("POST", "/proof", {"Origin": "http://evil.example"}, NONCE.encode(), token=False)
    assert answer.status == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:4080", "localhost.evil.example", "127.0.0.1.nip.io", ""]
)
@pytest.mark.parametrize("path", ["/", "/v1/status", "/app.js"])
async def test_a_name_that_was_made_to_lead_here_is_turned_away(ask: Served, host: str, path: str) -> None:
    answer = await ask("GET", path, {"Host": host})
    assert answer.status in (HTTPStatus.MISDIRECTED_REQUEST, HTTPStatus.BAD_REQUEST)
    assert b"peer_id" not in answer.body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "[::1]:8080", "127.0.0.1", "127.8.8.8:1"])
async def test_it_answers_under_every_name_of_this_machine(ask: Served, host: str) -> None:
    assert (await ask("GET", "/v1/status", {"Host": host})).status == HTTPStatus.OK


@pytest.mark.parametrize("place", [{"web__names": ["relay.example.org"]}], indirect=True)
async def test_it_answers_under_a_name_that_its_owner_gave(ask: Served, place: Place) -> None:
    assert (await ask("GET", "/v1/status", {"Host": "relay.example.org:4080"})).status == HTTPStatus.OK
    assert place.url.startswith("http://relay.example.org:")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://{host}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "script"},
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/status"), ("POST", "/v1/pause"), ("OPTIONS", "/v1/pause")])
async def test_another_page_gets_nothing_even_with_the_token(
    ask: Served, place: Place, node: DoubleNode, headers: dict[str, str], method: str, path: str
) -> None:
    host = place.url.removeprefix("http://")
    given = {name: value.format(host=host) for name, value in headers.items()}
    answer = await ask(method, path, given)
    assert answer.status == HTTPStatus.FORBIDDEN
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert node.asked == []


async def test_our_own_page_is_answered_and_a_link_to_it_is_followed(ask: Served, place: Place) -> None:
    own = {"Origin": place.url, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"}
    assert (await ask("POST", "/v1/resume", own)).status == HTTPStatus.OK
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
    assert (await ask("GET", "/", link, token=False)).status == HTTPStatus.OK
    inside = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"}
    assert (await ask("GET", "/", inside, token=False)).status == HTTPStatus.FORBIDDEN


# --- what is served -------------------------------------------------------------------------------


async def test_the_page_needs_no_token_and_says_nothing(ask: Served) -> None:
    answer = await ask("GET", "/", token=False)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert (await ask("GET", "/index.html", token=False)).body == answer.body
    script = await ask("GET", "/app.js", token=False)
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert (await ask("HEAD", "/app.js", token=False)).body == b""


@pytest.mark.parametrize("path", ["/", "/app.js", "/v1/status", "/v1/nothing", "/v1/openapi.json"])
async def test_every_answer_tells_the_browser_to_be_strict(ask: Served, path: str) -> None:
    answer = await ask("GET", path)
    for name, value in HEADERS.items():
        assert answer.headers[name.lower()] == value
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "set-cookie" not in answer.headers
    assert answer.headers["cache-control"] == ("no-store" if path.startswith("/v1") else "no-cache")
    assert answer.headers["server"] == "towpath"


@pytest.mark.parametrize("sent", [f"GET /{'a' * 9000} HTTP/1.1", "GET / HTTP/9.9.9", "\x16\x03\x01<script>", "GET"])
async def test_what_is_not_http_is_answered_and_fills_no_log(
    ask: Served, place: Place, sent: str, caplog: pytest.LogCaptureFixture
) -> None:
    await ask("GET", "/", token=False)
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(*place.sock.getsockname()[:2])
        writer.write(f"{sent}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("latin-1"))
        answer = Answer(await reader.read())
    writer.close()
    assert answer.status == HTTPStatus.BAD_REQUEST
    assert "no request" in answer.json["error"]
    assert answer.headers["server"] == "towpath"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


async def test_a_file_is_sent_again_only_when_it_is_another(ask: Served) -> None:
    first = await ask("GET", "/style.css", token=False)
    again = await ask("GET", "/style.css", {"If-None-Match": first.headers["etag"]}, token=False)
    assert (again.status, again.body) == (HTTPStatus.NOT_MODIFIED, b"")
    other = await ask("GET", "/style.css", {"If-None-Match": '"something"'}, token=False)
    assert other.body == first.body


@pytest.mark.parametrize(
    "path",
    [
        "/../serving.py",
        "/pages/../../serving.py",
        "/%2e%2e/serving.py",
        "/..%2fserving.py",
        "//etc/passwd",
        "/vendor/uplot/LICENSE",
        "/pages",
        "/pages/",
        "/app.js/",
        "/app.js%00.html",
    ],
)
async def test_nothing_but_the_page_is_served(ask: Served, path: str) -> None:
    assert (await ask("GET", path)).status in (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST)


def test_the_page_is_small_and_asks_nobody_else() -> None:
    from importlib import resources

    from towpath.web.serving import _files

    files = dict(_files(resources.files("towpath.web") / "page", ""))
    assert sum(len(file.read_bytes()) for file in files.values()) <= 250_000
    html = files["index.html"].read_text("utf-8")
    assert "<script>" not in html
    assert "style=" not in html
    for name, file in files.items():
        text = file.read_text("utf-8", errors="replace")
        links = [word for word in text.split() if "://" in word and "www.w3.org" not in word]
        assert not links or name.startswith("vendor/"), (name, links)


# --- where it is ----------------------------------------------------------------------------------


def test_the_token_outlives_the_node_and_is_its_owners_alone(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    assert first.token == second.token
    assert len(first.token) == 43
    assert (tmp_path / TOKEN_FILE).stat().st_mode & 0o777 == 0o600
    assert address_to_keep(tmp_path, first.url) == f"{first.url}/#token={first.token}"
    (tmp_path / TOKEN_FILE).unlink()
    third = opened(tmp_path)
    assert third.token != first.token
    for place in (first, second, third):
        place.sock.close()


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 44, b"\xff" * 43, b"../" * 15])
def test_a_damaged_token_is_said_and_not_used(tmp_path: Path, content: bytes) -> None:
    (tmp_path / TOKEN_FILE).write_bytes(content)
    with pytest.raises(TowpathError, match=r"delete it|cannot be read"):
        opened(tmp_path)


def test_none_is_no_page(tmp_path: Path) -> None:
    assert open_place(settings(web__listen="none"), tmp_path) is None
    assert os.listdir(tmp_path) == []


def test_the_next_free_port_unless_a_dedicated_node_asked_for_one(tmp_path: Path) -> None:
    first = opened(tmp_path)
    at = first.url.removeprefix("http://")
    moved = opened(tmp_path, web__listen=at, relay__mode="cooperative")
    assert int(moved.url.rpartition(":")[2]) > int(at.rpartition(":")[2])
    with pytest.raises(TowpathError, match=rf"cannot listen on {at}.*web\.listen"):
        opened(tmp_path, web__listen=at, relay__mode="dedicated")
    first.sock.close()
    moved.sock.close()


# --- for other machines ---------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["0.0.0.0:0", "[::]:0"])
def test_other_machines_need_tls_or_a_word_that_they_do_not(tmp_path: Path, at: str) -> None:
    with pytest.raises(TowpathError, match="without TLS whoever listens on the way can take over"):
        opened(tmp_path, web__listen=at)
    place = opened(tmp_path, web__listen=at, web__without_tls=True)
    assert place.url.startswith(("http://127.0.0.1:", "http://[::1]:"))
    place.sock.close()


def certify(path: Path, days: int = 2) -> None:
    """A certificate of its own for localhost, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)


async def status_over_tls(place: Place, trusted: Path) -> tuple[bytes, bytes]:
    """What is answered to GET /v1/status, and the certificate it was answered under."""
    context = ssl.create_default_context(cafile=str(trusted))
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    port = place.sock.getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    lines = ["GET /v1/status HTTP/1.1", f"Host: localhost:{port}", f"Authorization: Bearer {place.token}"]
    lines += [f"Origin: https://localhost:{port}", "Connection: close", "", ""]
    writer.write("\r\n".join(lines).encode())
    answer = await reader.read()
    writer.close()
    return answer, certificate


async def test_it_is_served_by_tls_and_a_renewed_certificate_is_taken_up(tmp_path: Path, node: DoubleNode) -> None:
    own = tmp_path / "own.pem"
    certify(own)
    place = opened(tmp_path, web__certificate=str(own), web__names=["localhost"])
    assert place.url.startswith("https://localhost:")
    failures: list[BaseException] = []
    server = LateServer(node, listen(socket_path(tmp_path)), None, failures.append, place)
    server.start()
    async with asyncio.timeout(60):
        old = tmp_path / "old.pem"
        own.rename(old)
        certify(own)
        os.utime(own, ns=(1, 1))
        answer, before = await status_over_tls(place, old)
        assert b" 200 OK" in answer
        answer, after = await status_over_tls(place, own)
        assert b" 200 OK" in answer
        assert before != after
        # Who speaks plainly is not answered.
        reader, writer = await asyncio.open_connection("127.0.0.1", place.sock.getsockname()[1])
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" not in await reader.read()
        writer.close()
    await server.stop()
    assert not failures


def test_a_certificate_that_is_none_is_said(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    for given in ({"web__certificate": str(bad)}, {"web__certificate": str(tmp_path / "missing")}):
        with pytest.raises(TowpathError, match=r"web\.certificate .* cannot be used"):
            opened(tmp_path, **given)
    with pytest.raises(TowpathError, match=r"but web\.certificate no certificate"):
        opened(tmp_path, web__certificate_key=str(bad))


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of a node that answers, as far as the command looks."""
    opened(tmp_path).sock.close()
    (tmp_path / "ready.json").write_text(json.dumps({"web": "http://127.0.0.1:4080"}))
    monkeypatch.setattr(command, "ask", lambda data, path: {})
    return tmp_path


def test_the_address_is_printed_when_asked_for(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = (running / TOKEN_FILE).read_text().strip()
    command.web(data=running, print_=True)
    assert capsys.readouterr().out == f"http://127.0.0.1:4080/#token={token}\n"
    command.web(data=running, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"url": f"http://127.0.0.1:4080/#token={token}"}


def test_a_browser_is_opened_where_there_is_a_screen(
    running: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    visited: list[str] = []
    monkeypatch.setattr(command.webbrowser, "open", lambda url: visited.append(url) or True)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    command.web(data=running)
    assert "Open this address" in capsys.readouterr().out
    assert visited == []
    monkeypatch.setenv("DISPLAY", ":0")
    command.web(data=running)
    assert len(visited) == 1
    # Everybody on this machine sees what a browser is started with.
    assert visited[0].startswith("http://127.0.0.1:4080/#ticket=")
    assert (running / TOKEN_FILE).read_text().strip() not in visited[0]
    # On a terminal that others may look at, the token is not shown.
    assert "token" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("listen", "events", "told"),
    [
        ("none", [], "without --no-web"),
        ("127.0.0.1:4080", [], "without --no-web"),
        ("none", [{"kind": "page_not_served", "sentence": "of an earlier run"}], "without --no-web"),
        ("127.0.0.1:4080", [{"kind": "page_not_served", "sentence": "no certificate"}], "no certificate; then start"),
    ],
)
def test_a_node_without_a_page_says_how_to_get_one(
    running: Path, monkeypatch: pytest.MonkeyPatch, listen: str, events: list[dict[str, str]], told: str
) -> None:
    answers = {"/v1/status": {}, "/v1/settings": {"web.listen": {"value": listen}}, "/v1/log?limit=1000": events}
    monkeypatch.setattr(command, "ask", lambda data, path: answers[path])
    (running / "ready.json").write_text(json.dumps({"web": None}))
    with pytest.raises(TowpathError, match=told):
        command.web(data=running, print_=True)
