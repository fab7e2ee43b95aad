"""What the web page consists of."""

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

PAGE = files("towpath.web") / "page"
FORBIDDEN = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", " style=")
OWN = (".js", ".html", ".css")


def _all(place: Traversable) -> Iterator[Traversable]:
    for one in place.iterdir():
        yield from _all(one) if one.is_dir() else (one,)


def test_all_of_it_stays_within_250_kilobytes() -> None:
    assert sum(len(one.read_bytes()) for one in _all(PAGE)) <= 250_000


def test_what_others_wrote_has_its_licence() -> None:
    for vendored in (PAGE / "vendor").iterdir():
        assert "Permission is hereby granted" in (vendored / "LICENSE").read_text("utf-8")


def test_no_own_code_makes_html_of_text_or_leads_elsewhere() -> None:
    own = [
        one for one in _all(PAGE) if one.name.endswith((".js", ".html", ".css")) and not one.name.startswith("uPlot")
    ]
    assert own
    for one in own:
        text = one.read_text("utf-8")
        for word in FORBIDDEN:
            assert word not in text, f"{one.name} has {word}"
        assert "http" not in text.replace("http://www.w3.org/2000/svg", ""), f"{one.name} names a place elsewhere"
