"""Titles as a reader sees them, and the way back from a written title to the item it names.

A title is compared by its canonical form only: never by substring, never fuzzily. The catalogue builder makes display titles
unique under that form, so a written title names one item or none.
"""

import html
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Sequence

from fathom.errors import DataError
from fathom.records import Catalog

LONGEST = 200
"""Display titles are cut at a word boundary to this many characters (before what makes them unique is added)."""

NO_TITLE = "(no title)"
"""Stands where a source gives no title."""

_NUMBER = re.compile(r"\d{1,3}[.)]\s+")
_QUOTES = "\"'`´‘’‚‛“”„‟«»‹› "
_TAG = re.compile(r"<[|/]{0,2}([^\W\d]\w*)[|/]{0,2}>")
_PROTOCOL_WORD = re.compile(r"(?:begin|end)_of_(?:preference|item_list)|recommendation_list", re.IGNORECASE)
_ADDED = re.compile(r"(?: \[[^\[\]]*\])+$")


def canonical(text: str, *, answer_line: bool = False) -> str:
    """The form under which titles are compared: unescaped, NFKC, without surrounding quotes, single-spaced, casefolded.

    An answer line also loses one leading list number.

    >>> canonical(' "Heat  (1995)" ') == canonical("HEAT (1995)") == canonical("3. Heat (1995)", answer_line=True)
    True
    """
    plain = " ".join(unicodedata.normalize("NFKC", html.unescape(text)).split())
    if answer_line:
        plain = _NUMBER.sub("", plain, count=1) if _NUMBER.match(plain) else plain
    return plain.strip(_QUOTES).casefold()


def neutral(text: str) -> str:
    """`text` without anything that a protocol or a chat template could take for its own marker.

    >>> neutral("The <think> Tank <|end_of_preference|>")
    'The (think) Tank (end of preference)'
    """
    without_tags = _TAG.sub(lambda tag: f"({tag[1]})", text)
    return _PROTOCOL_WORD.sub(lambda word: word[0].replace("_", " "), without_tags)


def single_line(text: str) -> str:
    """`text` unescaped once, marker-neutral, without control characters and line breaks, its white space single.

    >>> single_line("Tom &amp;\\n Jerry ")
    'Tom & Jerry'
    """
    spaced = " ".join(html.unescape(text).split())
    printable = "".join(character for character in spaced if unicodedata.category(character) not in ("Cc", "Cs"))
    return neutral(" ".join(printable.split()))


def display_titles(raw: Sequence[str], hints: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """One display title per raw title: single-line, free of markers, and unique whether or not a leading number is taken off.

    `hints[i]` says what else is known of item i, the most telling first (year, category, platform; '' for unknown). Titles that
    several items share get the first hint that differs between them in brackets, then the next, and at last ` [#2]`, ` [#3]`
    in the order given; the first of them stays as it is.

    >>> display_titles(["Emma", "Emma", "Heat", "Heat"], [["1996"], ["2020"], [], []])
    ('Emma [1996]', 'Emma [2020]', 'Heat', 'Heat [#2]')
    """
    titles = [_shortened(single_line(title)) for title in raw]
    cleaned = [[single_line(hint) for hint in item] for item in hints]
    for level in range(max((len(item) for item in cleaned), default=0)):
        for group in _shared(titles):
            told = {item: cleaned[item][level] if level < len(cleaned[item]) else "" for item in group}
            if len(set(told.values())) > 1:
                for item, hint in told.items():
                    titles[item] += f" [{hint.replace('[', '(').replace(']', ')')}]" if hint else ""
    taken = {_key(title) for title in titles}
    for group in _shared(titles):
        number = 2
        for item in group[1:]:
            while _key(f"{titles[item]} [#{number}]") in taken:
                number += 1
            titles[item] = f"{titles[item]} [#{number}]"
            taken.add(_key(titles[item]))
    return tuple(titles)


class TitleIndex:
    """Finds the item that a written line names."""

    def __init__(self, catalog: Catalog) -> None:
        """Index the display titles of `catalog`; two that are equal under `canonical` are a `DataError`."""
        self._items: dict[str, int] = {}
        sharing: defaultdict[str, list[int]] = defaultdict(list)
        for item, title in enumerate(catalog.titles, start=1):
            form = canonical(title)
            if form in self._items:
                other = catalog.titles[self._items[form] - 1]
                raise DataError(
                    f"items {self._items[form]} and {item} share one title ({other!r} and {title!r}): "
                    "build the catalogue's titles with fathom.data.titles.display_titles"
                )
            self._items[form] = item
            sharing[_ADDED.sub("", form)].append(item)
        self._sharing = {bare: tuple(items) for bare, items in sharing.items() if len(items) > 1}

    def resolve(self, line: str, shown: Collection[int] = ()) -> int | None:
        """The item id whose title `line` is, with or without a list number before it; None where it is no item's.

        A bare title (without what was added in brackets) that several items share names the only one of them in `shown`,
        and none if several or none of them were shown.
        """
        for form in (canonical(line, answer_line=True), canonical(line)):
            if form in self._items:
                return self._items[form]
            candidates = [item for item in self._sharing.get(form, ()) if item in shown]
            if len(candidates) == 1:
                return candidates[0]
        return None


def _key(title: str) -> str:
    """What must differ between two titles: the canonical form without a leading number, so that '2. Emma' cannot hide behind 'Emma'."""
    return _NUMBER.sub("", canonical(title), count=1) if _NUMBER.match(canonical(title)) else canonical(title)


def _shared(titles: Sequence[str]) -> list[list[int]]:
    """The groups of positions whose titles are not told apart, each in ascending order."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for position, title in enumerate(titles):
        groups[_key(title)].append(position)
    return [group for group in groups.values() if len(group) > 1]


def _shortened(title: str) -> str:
    """`title` cut at a word boundary, or `NO_TITLE` where nothing can be told from it."""
    if not canonical(title):
        return NO_TITLE
    if len(title) <= LONGEST:
        return title
    return title[: LONGEST - 3].rsplit(" ", 1)[0] + "..."


def catalog_with(catalog: Catalog, items: Catalog) -> Catalog:
    """`catalog` and behind it `items`, of whose attributes those are left out that `catalog` does not have. A name or a title that is taken
    is a `DataError`."""
    taken = sorted(set(catalog.names) & set(items.names))
    if taken:
        raise DataError(f"the catalogue already has an item named '{taken[0]}': give new items names of their own")
    nothing = tuple(() for _ in items.names)
    descriptions = (catalog.descriptions or ("",) * catalog.n_items) + (items.descriptions or ("",) * items.n_items)
    longer = Catalog(
        catalog.names + items.names,
        catalog.titles + items.titles,
        {name: column + items.attributes.get(name, nothing) for name, column in catalog.attributes.items()},
        descriptions if catalog.descriptions or items.descriptions else (),
    )
    TitleIndex(longer)
    return longer
