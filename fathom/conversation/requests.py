"""What somebody says becomes moves: likes and dislikes, filters, a swap, undo, start again. Rules alone; no model is asked.

A message is read clause by clause. Years and prices go first, then titles, then values of the catalogue's attributes; which way each is
meant follows from the words of its clause. What is left over is a wish in the person's own words.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from fathom.conversation.state import ANY, Span
from fathom.prompting.matching import form_of, words_of
from fathom.records import Catalog

MOST_VALUES = 4_000
"""An attribute with more values than this is free text, not something that people name."""

MARK = "\1"
"""Stands around the id of an item in the place of its title: no text holds it."""
_MARKED = re.compile(rf"{MARK}(\d+){MARK}")

_ENGLISH: Mapping[str, Any] = yaml.safe_load(files("fathom.conversation").joinpath("english.yaml").read_text(encoding="utf-8"))
_CUES = {name: re.compile(rf"\b(?:{'|'.join(patterns)})(?!\w)", re.IGNORECASE) for name, patterns in _ENGLISH["cues"].items()}
_NUMBERS, _ORDINALS, _DECADES = _ENGLISH["numbers"], _ENGLISH["ordinals"], _ENGLISH["decades"]
_FILLERS = frozenset(_ENGLISH["fillers"].split())
_UNDO = re.compile(rf"^\W*(?:please\s+)?{_CUES['undo'].pattern}\W*$", re.IGNORECASE)

_TURN = rf"(?:{'|'.join(_ENGLISH['turns'])})\b"
_CLAUSE = re.compile(rf"[.;!?\n]+(?!\d)|,\s*(?={_TURN})|(?<!thing)\s+(?=(?:but|without|except)\b)", re.IGNORECASE)
_COUNT = re.compile(
    rf"\b(?:give me|show me|top|recommend(?: me)?|just|only)\s+(?P<count>\d{{1,2}}(?!\d)|(?:{'|'.join(_NUMBERS)})\b)", re.IGNORECASE
)
_PLACE = re.compile(
    rf"(?:#|\b(?:number|no\.?)\s*)(?P<number>\d{{1,2}})\b|\b(?:the )?(?P<word>{'|'.join(_ORDINALS)}|last)(?: one)?\b", re.IGNORECASE
)
_COINS = r"(?:[$€£]|\s*(?:dollars?|euros?|bucks|pounds?)\b)"
_AT_MOST = r"(?:under|below|less than|cheaper than|at most|up to|no more than|max(?:imum)?)"
_DEAR = re.compile(rf"\b{_AT_MOST}\s+(?:[$€£]\s*)?(?P<high>\d+(?:\.\d+)?)(?!\d){_COINS}?", re.IGNORECASE)
_CHEAP = re.compile(
    rf"\b(?:over|above|more than|at least|from)\s+(?:[$€£]\s*(?P<before>\d+(?:\.\d+)?)|(?P<behind>\d+(?:\.\d+)?){_COINS})", re.IGNORECASE
)
_Y = r"((?:19|20)\d\d)"
_YEARS: Sequence[tuple[re.Pattern[str], int | None, int | None]] = [
    (re.compile(pattern.replace("YEAR", _Y), re.IGNORECASE), low, high)
    for pattern, low, high in (
        # What is added to the first year that is named, or to the last one, where it bounds at all.
        (r"\bbetween\s+YEAR\s+and\s+YEAR", 0, 0),
        (r"\bfrom\s+YEAR\s+(?:to|until|till|-)\s+YEAR", 0, 0),
        (r"\bnot?\s+(?:before|older than|earlier than)\s+YEAR", 0, None),
        (r"\bnot?\s+(?:after|newer than|later than)\s+YEAR", None, 0),
        (r"\b(?:before|older than|earlier than)\s+YEAR", None, -1),
        (r"\b(?:after|newer than|later than)\s+YEAR", 1, None),
        (r"\b(?:since|from|starting (?:in|from))\s+YEAR\s+(?:on|onwards?)\b", 0, None),
        (r"\b(?:since|starting (?:in|from))\s+YEAR", 0, None),
        (r"\b(?:until|up to|by)\s+YEAR", None, 0),
        (r"\b(?:from|in|of)\s+YEAR\b(?!\s*\))", 0, 0),
    )
]
_DECADE = re.compile(rf"\b(?:the\s+)?(?:(?P<century>19|20)?(?P<digit>\d)0'?s|(?P<word>{'|'.join(_DECADES)}))\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request:
    """What was said, as moves."""

    undo: bool = False
    restart: bool = False
    swaps: tuple[int, ...] = ()
    """Items of the list that others shall stand in for."""
    likes: tuple[int, ...] = ()
    dislikes: tuple[int, ...] = ()
    seen: tuple[int, ...] = ()
    accepted: tuple[int, ...] = ()
    wanted: tuple[tuple[str, str], ...] = ()
    """Attribute and value."""
    barred: tuple[tuple[str, str], ...] = ()
    years: Span = ANY
    price: Span = ANY
    count: int | None = None
    words: str = ""
    """What is left, without what says nothing."""


class Language:
    """The words that a catalogue gives to people: its titles and the values of its attributes."""

    def __init__(self, catalog: Catalog) -> None:
        self._titles: dict[str, list[int]] = defaultdict(list)
        self._years: dict[int, str] = {}
        self._spelt: dict[str, str] = {}
        for item, title in enumerate(catalog.titles, start=1):
            form = form_of(title)
            self._titles[form.words].append(item)
            self._years[item] = form.year
            self._spelt.setdefault(form.words, title)
        self._longest = max((len(words.split()) for words in self._titles), default=0)
        self._values: dict[str, tuple[tuple[str, str], ...]] = {}
        found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for name, column in catalog.attributes.items():
            values = {value for item in column for value in item}
            if name not in ("year", "price") and len(values) <= MOST_VALUES:
                for value in sorted(values):
                    for words in _spellings(value):
                        found[words].append((name, value))
        self._values = {words: tuple(dict.fromkeys(pairs)) for words, pairs in found.items()}
        for said, meant in _ENGLISH["synonyms"].items():
            pairs = [pair for one in meant for pair in self._values.get(words_of(one), ())]
            if pairs:
                self._values.setdefault(words_of(said), tuple(pairs))

    def marked(self, clause: str, *, careful: bool) -> str:
        """The text with a mark in the place of each title, the longest titles first; titles may hold any word, and any full stop.

        `careful`: a title of one word counts only as it is spelt, with its capital letter, or in quotation marks.
        """
        spans = list(re.finditer(r"[\w'’&-]+(?:\s*[.:!]\s*(?=[\w'’]))?", clause))
        taken = [False] * len(spans)
        found: list[tuple[int, int, int]] = []
        for size in range(min(self._longest, len(spans)), 0, -1):
            for start in range(len(spans) - size + 1):
                if any(taken[start : start + size]):
                    continue
                begin, end = spans[start].start(), spans[start + size - 1].end()
                text = clause[begin:end]
                words = words_of(text)
                if words not in self._titles or not words:
                    continue
                year = re.match(r"\s*[(\[]?((?:19|20)\d\d)\b", clause[end:])
                spelt = clause[max(0, begin - 1) : begin] in tuple("\"“'‘«") or (text[:1].isupper() and start > 0) or text[:1].isdigit()
                if careful and size == 1 and not (spelt or year or size == len(spans)):
                    continue
                item = self._of_year(words, year[1] if year else "")
                last = start + size + bool(year)
                taken[start:last] = [True] * (last - start)
                found.append((begin, spans[min(last, len(spans)) - 1].end(), item))
        for begin, end, item in sorted(found, reverse=True):
            clause = f"{clause[:begin]}{MARK}{item}{MARK}{clause[end:]}"
        return clause

    def values_in(self, clause: str) -> tuple[list[tuple[str, str]], str]:
        """The attribute values that a clause names, and the clause without them."""
        words = words_of(clause).split()
        pairs: list[tuple[str, str]] = []
        at, left = 0, []
        while at < len(words):
            for size in range(min(5, len(words) - at), 0, -1):
                if found := self._values.get(" ".join(words[at : at + size])):
                    pairs += found
                    at += size
                    break
            else:
                left.append(words[at])
                at += 1
        return list(dict.fromkeys(pairs)), " ".join(left)

    def _of_year(self, words: str, year: str) -> int:
        items = self._titles[words]
        return next((item for item in items if year and self._years[item] == year), items[0])


def read_request(text: str, language: Language, listed: Sequence[int] = ()) -> Request:
    """What `text` asks for; `listed` are the items that stand before the person, for 'the second one' and 'number 3'."""
    if _UNDO.match(text):
        return Request(undo=True)
    found: defaultdict[str, list[int]] = defaultdict(list)
    wanted: list[tuple[str, str]] = []
    barred: list[tuple[str, str]] = []
    years, text = _years(language.marked(text, careful=True))
    price, text = _prices(text)
    count = _COUNT.search(text)
    restart = bool(_CUES["restart"].search(text))
    left = []
    for clause in _CLAUSE.split(_CUES["restart"].sub(" ", _COUNT.sub(" ", text))):
        if not clause.strip():
            continue
        bad = bool(_CUES["bad"].search(clause))
        meant = _meant(clause, bad=bad)
        if meant != "mentioned":
            clause = language.marked(clause, careful=False)
        items = [int(item) for item in _MARKED.findall(clause)]
        places, rest = _places(_MARKED.sub(" ", clause), listed)
        if meant == "seen" and not items and not places and _CUES["them"].search(clause):
            places = list(listed)
        found["likes" if meant == "mentioned" else meant] += [*items, *places]
        pairs, rest = language.values_in(rest)
        (barred if bad else wanted).extend(pairs)
        words = [word for word in rest.split() if word not in _FILLERS and not _CUES["bad"].fullmatch(word) and len(word) > 1]
        if not bad:
            left += words
    swaps = [item for item in found["swaps"] if item in listed]
    return Request(
        restart=restart,
        swaps=_once(swaps),
        likes=_once(found["likes"]),
        dislikes=_once([*found["dislikes"], *(item for item in found["swaps"] if item not in swaps)]),
        seen=_once(found["seen"]),
        accepted=_once(found["accepted"]),
        wanted=tuple(dict.fromkeys(wanted)),
        barred=tuple(dict.fromkeys(barred)),
        years=years,
        price=price,
        count=_number(count["count"]) if count else None,
        words=" ".join(left),
    )


def _meant(clause: str, *, bad: bool) -> str:
    """What a clause does with the titles in it."""
    said = {name for name, cue in _CUES.items() if cue.search(clause)}
    if "swap" in said:
        return "swaps"
    if "accepted" in said:
        return "accepted"
    if "seen" in said and not {"unseen", "liked"} & said:
        return "seen"
    if bad and "unseen" not in said:
        return "dislikes"
    return "likes" if "liked" in said else "mentioned"


def _places(clause: str, listed: Sequence[int]) -> tuple[list[int], str]:
    """Items of the list that are named by their places."""
    items = []
    for place in _PLACE.finditer(clause):
        word = (place["word"] or "").lower()
        number = int(place["number"]) if place["number"] else len(listed) if word == "last" else _ORDINALS.index(word) + 1
        if 0 < number <= len(listed):
            items.append(listed[number - 1])
    return items, _PLACE.sub(" ", clause) if items else clause


def _years(text: str) -> tuple[Span, str]:
    """The years that are asked for, and the text without them."""
    for pattern, low, high in _YEARS:
        if told := pattern.search(text):
            years = [int(year) for year in told.groups()]
            return Span(None if low is None else years[0] + low, None if high is None else years[-1] + high), _without(text, told)
    if told := _DECADE.search(text):
        if told["word"]:
            start = int(_DECADES[told["word"].lower()])
        else:
            start = int(told["century"] or (20 if int(told["digit"]) < 3 else 19)) * 100 + 10 * int(told["digit"])
        return Span(start, start + 9), _without(text, told)
    return ANY, text


def _without(text: str, told: re.Match[str]) -> str:
    return f"{text[: told.start()]} {text[told.end() :]}"


def _prices(text: str) -> tuple[Span, str]:
    """The prices that are asked for, and the text without them."""
    low, high = _CHEAP.search(text), _DEAR.search(text)
    span = Span(float(low["before"] or low["behind"]) if low else None, float(high["high"]) if high else None)
    return span, _DEAR.sub(" ", _CHEAP.sub(" ", text)) if span else text


def _spellings(value: str) -> list[str]:
    """A value as people write it: as it is, and more of them."""
    words = words_of(value)
    if not words:
        return []
    many = f"{words[:-1]}ies" if words.endswith("y") else f"{words}s"
    return [words, many]


def _number(word: str) -> int:
    return int(word) if word.isdigit() else _NUMBERS.index(word.lower()) + 1


def _once(items: Sequence[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(items))
