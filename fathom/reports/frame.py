"""What all pages have in common: head, navigation, style and script in one file, and a policy that forbids to load anything."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

Links = Sequence[tuple[str, str]]
"""Words and address of each link of the navigation."""


def framed(title: str, main: str, *, links: Links, home: str = "#top", forms: bool = False) -> str:
    """A whole HTML document around `main`, which is HTML. `home`: where the name leads; `forms`: whether some may be sent to its server."""
    return Template(resource("page.html")).substitute(
        title=escape(title),
        style=resource("page.css"),
        script=resource("page.js"),
        home=escape(home),
        links="".join(f'<li><a href="{escape(address)}">{escape(words)}</a></li>' for words, address in links),
        forms="'self'" if forms else "'none'",
        main=main,
    )


def section(name: str, inside: str) -> str:
    """One part of a page under its heading; its anchor is the name in small letters."""
    key = name.lower().replace(" ", "-")
    return f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{escape(name)}</h2>{inside}</section>'


def scroller(label: str, inside: str) -> str:
    """A table that is wider than a narrow screen."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">{inside}</div>'


def resource(name: str) -> str:
    """A file of `fathom/reports/templates`."""
    return (files("fathom.reports") / "templates" / name).read_text(encoding="utf-8")
