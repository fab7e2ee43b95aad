"""What others try through the owner's browser, and what peers call themselves."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

from tests.web.chromium import REBOUND
from tests.web.conftest import BeginTraffic, OpenPage, StartNode
from tests.web.watched import PAGES
from towpath.web.place import TOKEN_FILE

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.slow, pytest.mark.timeout(180)]

EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@contextlib.asynccontextmanager
async def another_page(html: str) -> AsyncIterator[str]:
    """A server of somebody else's on this machine; gives the URL of its one page."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = html.encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


async def test_another_page_can_neither_ask_nor_change_anything(start_node: StartNode, browser: Browser) -> None:
    node = start_node()
    async with another_page("<!doctype html><title>evil</title>") as evil:
        context = await browser.new_context()
        page = await context.new_page()
        # Even with the page open in the same browser.
        own = await context.new_page()
        await own.goto(node.address)
        await own.wait_for_selector("#state-words")
        await page.goto(evil)
        tried = await page.evaluate(
            """async ([url, token]) => {
                const authorization = { Authorization: `Bearer ${token}` };
                const read = async answer => `${answer.type} ${answer.status} ${(await answer.text()).length}`;
                const fetched = (path, options) => fetch(url + path, options).then(read, () => 'refused');
                const loaded = (tag, name) => new Promise(done => {
                    const element = document.createElement(tag);
                    element.onload = () => done('loaded');
                    element.onerror = () => done('refused');
                    element[name] = url + (tag === 'script' ? '/app.js' : '/icon.svg');
                    document.body.append(element);
                });
                return [
                    await fetched('/v1/status'),
                    await fetched('/v1/status', { headers: authorization }),
                    await fetched('/v1/status', { credentials: 'include' }),
                    await fetched('/v1/pause', { method: 'POST', headers: authorization, body: '{}' }),
                    await fetched('/v1/pause', { method: 'POST', mode: 'no-cors', body: '{}' }),
                    await fetched('/v1/events', { headers: authorization }),
                    await loaded('script', 'src'),
                    await loaded('img', 'src'),
                ];
            }""",
            [node.url, node.token],
        )
        # Without CORS an answer cannot be read; that it is empty to the asker is what counts.
        assert [one for one in tried if one not in ("refused", "opaque 0 0")] == []
        await page.set_content(
            f"<form method=post enctype=text/plain action='{node.url}/v1/pause'><button>x</button></form>"
        )
        async with page.expect_navigation() as going:
            await page.get_by_role("button").click()
        answer = await going.value
        assert answer is not None
        assert answer.status == 403
        frame = await context.new_page()
        await frame.goto(evil)
        await frame.evaluate(
            "url => { document.body.append(Object.assign(document.createElement('iframe'), { src: url })) }", node.url
        )
        inner = await (await frame.wait_for_selector("iframe")).content_frame()
        assert inner is not None
        assert await inner.locator("#state-words").count() == 0
        assert (await node.ask("/v1/status"))["state"] == "relaying"
        await context.close()


async def test_a_name_that_is_made_to_lead_here_shows_nothing(start_node: StartNode, browser: Browser) -> None:
    node = start_node()
    context = await browser.new_context()
    page = await context.new_page()
    port = node.url.rpartition(":")[2]
    answer = await page.goto(f"http://{REBOUND}:{port}/#token={node.token}")
    assert answer is not None
    assert answer.status == 421
    asked = (
        "token => fetch('/v1/status', { headers: { Authorization: `Bearer ${token}` } }).then(answer => answer.status)"
    )
    assert await page.evaluate(asked, node.token) == 421
    await context.close()


async def test_what_a_browser_is_started_with_lets_in_once(start_node: StartNode, browser: Browser) -> None:
    node = start_node()
    address = node.address_once
    assert node.token not in address
    context = await browser.new_context()
    page, late = await context.new_page(), await context.new_page()
    await page.goto(address)
    await expect(page.locator("#state-words")).to_have_text("Ready to help: nobody needs you just now")
    assert page.url.endswith("#/home")
    # Whoever saw the address comes too late; the one who is in stays in.
    await late.goto(address)
    await expect(late.get_by_role("heading", name="This page needs its key")).to_be_visible()
    await page.reload()
    await expect(page.locator("#state-words")).to_have_text("Ready to help: nobody needs you just now")
    # The same tab gets in by another one.
    await late.goto(node.address_once)
    await expect(late.locator("#state-words")).to_be_visible()
    await context.close()


class Impostor:
    """Another program at the place of a node that stopped: it keeps all that it hears, and answers everything."""

    def __init__(self, passes_on_to: str | None) -> None:
        self.heard = b""
        self._more = asyncio.Event()
        self._other = None if passes_on_to is None else passes_on_to.removeprefix("http://").rpartition(":")

    @contextlib.asynccontextmanager
    async def at(self, host: str, port: int) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, host, port)
        try:
            yield
        finally:
            server.close()

    async def until(self, piece: bytes, times: int) -> None:
        """Returns when it has heard this so often."""
        async with asyncio.timeout(60):
            while self.heard.count(piece) < times:
                self._more.clear()
                await self._more.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            body = b"" if length is None else await reader.readexactly(int(length[1]))
            self.heard += head + body
            self._more.set()
            writer.write(await self._answer(head, body))
            await writer.drain()
        writer.close()

    async def _answer(self, head: bytes, body: bytes) -> bytes:
        if self._other is not None:
            host, _, port = self._other
            # As if that page had asked.
            asked = re.sub(rb"(?im)^(host|origin|referer|connection):.*\r\n", b"", head[:-2])
            asked += f"Host: {host}:{port}\r\nConnection: close\r\n\r\n".encode() + body
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(asked)
            answer = await reader.read()
            writer.close()
            return answer
        content = b'{"run": "%s", "port": 1, "proof": "%s"}' % (b"0" * 32, b"0" * 64)
        kind = b"text/javascript" if b".js " in head else b"application/json"
        said = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        return said % (kind, len(content)) + content


@pytest.mark.parametrize("passes_on", [False, True])
async def test_who_takes_the_place_of_a_stopped_node_is_told_nothing(
    start_node: StartNode, open_page: OpenPage, passes_on: bool
) -> None:
    node = start_node()
    token, url = node.token, node.url
    host, _, port = url.removeprefix("http://").partition(":")
    page = await open_page(node)
    here = page.page
    await expect(here.locator("#state-words")).to_have_text("Ready to help: nobody needs you just now")
    with page.node_away():
        node.stop()
        other = start_node() if passes_on else None
        if other is not None:
            # The owner's node is back, elsewhere: it would prove what it is asked.
            other.stop()
            (other.data / TOKEN_FILE).write_text(token)
            other.start()
        impostor = Impostor(other.url if other is not None else None)
        async with impostor.at(host, int(port)):
            await expect(here.get_by_text("another program answers in its place")).to_be_visible()
            # Whatever its owner does meanwhile: no page comes from there, either.
            for name in ("ledger", "settings", "home"):
                await here.locator(f"a.nav-link[href='#/{name}']").click()
                await here.wait_for_selector("main h1")
            await here.get_by_role("button", name="Pause").click()
            await here.get_by_role("button", name="For 1 hour").click()
            await expect(here.get_by_text("The node does not answer.")).to_be_visible()
            heard = impostor.heard.count(b"POST /proof")
            await impostor.until(b"POST /proof", heard + 3)
        node.start(at=f"{host}:{port}")
        assert node.url == url
        await expect(here.locator(".banner")).to_be_hidden()
        await expect(here.locator("#state-words")).to_have_text("Ready to help: nobody needs you just now")
    assert token.encode() not in impostor.heard
    assert b"authorization" not in impostor.heard.lower()
    # A browser may fetch the icon again when the address changes.
    assert set(re.findall(rb"(?m)^[A-Z]+ (\S+) HTTP", impostor.heard)) - {b"/icon.svg"} == {b"/proof"}


async def test_a_wrong_token_is_not_said_to_anybody(start_node: StartNode, browser: Browser) -> None:
    node = start_node()
    context = await browser.new_context()
    page = await context.new_page()
    said: list[str | None] = []
    page.on("request", lambda request: said.append(request.headers.get("authorization")))
    await page.goto(f"{node.url}/#token={'x' * 43}")
    await expect(page.get_by_role("heading", name="This page needs its key")).to_be_visible()
    assert set(said) == {None}
    # The right one in the same tab lets in; what is said is another thing than the token.
    await page.evaluate("token => { location.hash = `token=${token}` }", node.token)
    await expect(page.locator("#state-words")).to_be_visible()
    assert f"Bearer {node.token}" not in said
    await context.close()


async def test_without_cryptography_in_the_browser_the_page_works_all_the_same(
    start_node: StartNode, browser: Browser
) -> None:
    # As at another machine without TLS, which takes a word of the owner's.
    node = start_node(settings={"web.names": REBOUND, "web.without_tls": "true"})
    assert node.url.startswith(f"http://{REBOUND}:")
    for address in (node.address_once, node.address):
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(address)
        assert await page.evaluate("isSecureContext") is False
        await expect(page.locator("#state-words")).to_have_text("Ready to help: nobody needs you just now")
        await context.close()


async def test_what_a_peer_calls_itself_stays_text(
    start_node: StartNode, open_page: OpenPage, begin_traffic: BeginTraffic
) -> None:
    node = start_node()
    traffic = await begin_traffic(node)
    dialer, target = await traffic.pair(agent=EVIL)
    await traffic.circuit(dialer, target)
    page = await open_page(node, "circuits")
    await expect(page.page.get_by_text(EVIL, exact=True).first).to_be_visible()
    for name in PAGES:
        await page.go(name)
        assert "owned" not in await page.page.title()
        assert await page.page.locator("img[src='x'], main script").count() == 0


async def test_what_stands_in_an_event_stays_text(start_node: StartNode, open_page: OpenPage) -> None:
    node = start_node(settings={"log.level": "info"})
    page = await open_page(node, "health")
    # A name that comes from outside into a sentence of the log: a path in a setting.
    await node.ask("/v1/settings", "PATCH", {"web.certificate": EVIL})
    await expect(page.page.locator(".log").get_by_text(EVIL).first).to_be_visible()
    await page.go("settings")
    await expect(page.page.get_by_label("Certificate", exact=True)).to_have_value(EVIL)
    assert await page.page.locator("img[src='x'], main script").count() == 0
    assert "owned" not in await page.page.title()


async def test_text_cannot_become_html_or_script_even_by_mistake(start_node: StartNode, open_page: OpenPage) -> None:
    node = start_node()
    page = await open_page(node)
    blocked = await page.page.evaluate(
        """() => {
            const tries = {
                html: () => { document.createElement('div').innerHTML = '<b>x</b>' },
                write: () => document.write('x'),
                script: () => { document.createElement('script').src = '/app.js' },
                code: () => setTimeout("document.title = 'owned'"),
            };
            return Object.entries(tries).filter(([, attempt]) => {
                try { attempt(); return false } catch { return true }
            }).map(([name]) => name);
        }"""
    )
    page.complaints = [one for one in page.complaints if "Trusted" not in one and "TrustedScript" not in one]
    assert blocked == ["html", "write", "script", "code"]
