"""The screen: what is said, who is there, and by which way. Draws a `Room`; of the network it knows `status()`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.containers import Horizontal
from textual.widgets import Footer, Input, RichLog, Static

from towpath import Node
from towpath.errors import TowpathError

from .messages import LONGEST_TEXT
from .room import Person, Room, What

__all__ = ["Chat"]

_COLOURS: Final = ("cyan", "magenta", "green", "yellow", "blue", "red")


def colour(peer_id: str) -> str:
    """The same person looks the same everywhere, whatever they call themselves."""
    return _COLOURS[hashlib.sha256(peer_id.encode()).digest()[0] % len(_COLOURS)]


def short(peer_id: str) -> str:
    """As much of an id as tells relays apart."""
    return f"…{peer_id[-6:]}"


class Chat(App[None]):
    """The chat of one person, on a running node. `join` are people to meet."""

    TITLE = "towpath chat"
    BINDINGS: ClassVar = [("ctrl+y", "copy", "Copy your address"), ("ctrl+q", "quit", "Leave")]
    CSS = """
    #talk { width: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
    #people { width: 26; padding: 0 1; border-left: vkey $primary 40%; }
    #address { height: auto; padding: 0 1; color: $text-muted; }
    #way { height: auto; padding: 0 1; background: $boost; }
    Input { border: round $primary 60%; }
    """

    def __init__(self, node: Node, name: str, join: Sequence[str] = ()) -> None:
        super().__init__()
        self.node = node
        self.room = Room(node, name, lambda *told: self.call_later(self._tell, *told))
        self._join = join

    def compose(self) -> ComposeResult:
        """The talk with the people beside it, one's own address, the way, and the line to type in."""
        with Horizontal():
            yield RichLog(id="talk", wrap=True, min_width=20)
            yield Static(id="people")
        yield Static(id="address")
        yield Static(id="way")
        yield Input(placeholder=f"{self.room.name} says …", max_length=LONGEST_TEXT)
        yield Footer()

    def on_mount(self) -> None:
        """Begins."""
        self.query_one(Input).focus()
        self.run_worker(self._begin())
        self.query_one("#way").set_interval(0.5, self._draw_way)
        self._draw_way()
        self._draw_people()

    async def on_unmount(self) -> None:
        """Says goodbye."""
        await self.room.leave()

    async def _begin(self) -> None:
        try:
            await self.node.hold_reservations()
            for person in self._join:
                await self.room.join(person)
        except TowpathError as error:
            self._note(str(error))
        self._draw_way()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """A line was typed."""
        event.input.clear()
        if said := self.room.say(event.value):
            self._write(self.node.peer_id, self.room.name, said)

    def action_copy(self) -> None:
        """Puts the address that others join with where the terminal's own copying puts things."""
        for address in self.node.circuit_addresses[:1]:
            self.copy_to_clipboard(address)
            self.notify("Your address is copied: give it to a friend.")

    # --- drawing -------------------------------------------------------------------------------

    def _tell(self, person: Person, what: What, text: str) -> None:
        if what is What.SAID:
            self._write(person.peer_id, person.name, text)
        else:
            self._note(f"{person.name} {what.value}")
            self._draw_people()

    def _write(self, peer_id: str, name: str, text: str) -> None:
        self.query_one("#talk", RichLog).write(Text.assemble((name, f"bold {colour(peer_id)}"), "  ", text))

    def _note(self, text: str) -> None:
        self.query_one("#talk", RichLog).write(Text(text, style="dim italic"))

    def _draw_people(self) -> None:
        lines = Text.assemble((f"{self.room.name}", f"bold {colour(self.node.peer_id)}"), (" you\n", "dim"))
        for person in self.room.people.values():
            way = f"via {short(person.via)}" if person.via else "directly"
            lines.append(person.name, f"bold {colour(person.peer_id)}").append(f" {way}\n", "dim")
        self.query_one("#people", Static).update(lines)

    def _draw_way(self) -> None:
        client = self.node.status()["client"]
        way = Text()
        if via := dict.fromkeys(client["connected_via"]):
            way.append(f"connected via {', '.join(map(short, via))}, ", "green")
        else:
            way.append("looking for a relay … ", "yellow")
        if client["ip_hidden"]:
            way.append("IP hidden ✓", "bold green")
        else:
            way.append(f"IP not hidden: {'; '.join(client['ip_hidden_missing']) or 'no relay yet'}", "yellow")
        self.query_one("#way", Static).update(way)
        address = next(iter(self.node.circuit_addresses), None)
        self.query_one("#address", Static).update(Text(f"Friends join you with  {address}" if address else ""))
