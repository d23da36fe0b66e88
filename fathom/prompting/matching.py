"""Which title a piece of text names: exactly, by an alias, or nearly; never by a part of it."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from rapidfuzz import fuzz, process

from fathom.data.titles import canonical

NEAR = 0.9
"""Two titles are nearly the same when so large a share of their letters is, in order (twice the common ones over all)."""

_ARTICLE = re.compile(
    r"^(?P<rest>.+), (?P<article>the|a|an|le|la|les|un|une|el|los|las|der|die|das|il|lo|gli|o|os)(?P<behind>\s*[(\[].*)?$"
)
_YEAR = re.compile(r"[(\[]\s*(\d{4})(?:\s*[-–]\s*\d{0,4})?\s*[)\]]\s*$")
_WORD = re.compile(r"\w+")
_DIGITS = re.compile(r"\d+")


class Way(StrEnum):
    """How a title was found."""

    EXACT = "exact"
    """Letter for letter, but for quotes and white space."""
    ALIAS = "alias"
    """But for case, accents, punctuation, a moved article, or a year that one of the two leaves out."""
    FUZZY = "fuzzy"
    """But for some letters."""


class Match(NamedTuple):
    """One title that was found."""

    place: int
    """Which of the titles, from 0."""
    way: Way
    score: float
    """1 but for nearly equal titles: the share of letters they have in common, in order."""


class Form(NamedTuple):
    """A title without what people leave out when they write it down."""

    words: str
    """Its words in lower case, articles in front, no punctuation, no year."""
    year: str
    """The year in brackets at its end; '' without one."""


@lru_cache(2**16)
def form_of(title: str) -> Form:
    """What is compared of a title.

    >>> form_of("Matrix, The (1999)") == form_of("the matrix [1999]")
    True
    >>> form_of("Tom & Jerry's “Greatest”")
    Form(words='tom and jerrys greatest', year='')
    """
    plain = canonical(title)
    year = _YEAR.search(plain)
    rest = plain[: year.start()].rstrip() if year else plain
    if moved := _ARTICLE.match(rest):
        rest = f"{moved['article']} {moved['rest']}{moved['behind'] or ''}"
    words = words_of(rest)
    return Form(words, year[1] if year else "") if words else Form(plain, "")


def words_of(text: str) -> str:
    """The words of a text in lower case and without accents, one blank between them.

    >>> words_of("Tom & Jerry's  AMÉLIE!")
    'tom and jerrys amelie'
    """
    plain = canonical(text)
    if not plain.isascii():
        plain = "".join(letter for letter in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(letter))
    return " ".join(_WORD.findall(plain.replace("&", " and ").replace("'", "").replace("’", "")))


class Titles:
    """Some titles, to be found again; several may be equal."""

    def __init__(self, titles: Sequence[str]) -> None:
        self._exact: defaultdict[str, list[int]] = defaultdict(list)
        self._words: defaultdict[str, list[int]] = defaultdict(list)
        self._forms = [form_of(title) for title in titles]
        for place, (title, form) in enumerate(zip(titles, self._forms, strict=True)):
            self._exact[title.strip()].append(place)
            self._words[form.words].append(place)
        self._known = list(self._words)

    def exact(self, text: str, taken: Collection[int] = ()) -> Match | None:
        """As `find`, but letter for letter alone: the quickest look."""
        places = self._exact.get(text.strip())
        return Match(_free(places, taken), Way.EXACT, 1.0) if places else None

    def find(self, text: str, taken: Collection[int] = ()) -> Match | None:
        """The title that `text` is; None where it is none of them. Of equal ones the first that is not `taken`, or the first.

        Years that are told must agree, and so must all other numbers: 'Halo 2' is not nearly 'Halo 3'.
        """
        if exact := self.exact(text, taken):
            return exact
        form = form_of(text)
        if places := self._of_year(self._words.get(form.words, ()), form.year):
            return Match(_free(places, taken), Way.ALIAS, 1.0)
        near = process.extract(form.words, self._known, scorer=fuzz.ratio, score_cutoff=100 * NEAR, limit=None)
        for words, score, _ in sorted(near, key=lambda one: -one[1]):
            places = self._of_year(self._words[words], form.year)
            if places and _DIGITS.findall(words) == _DIGITS.findall(form.words):
                return Match(_free(places, taken), Way.FUZZY, score / 100)
        return None

    def _of_year(self, places: Sequence[int], year: str) -> list[int]:
        """Those of this year, else those without a year; of no year, all."""
        if not year:
            return list(places)
        exact = [place for place in places if self._forms[place].year == year]
        return exact or [place for place in places if not self._forms[place].year]


def _free(places: Sequence[int], taken: Collection[int]) -> int:
    return next((place for place in places if place not in taken), places[0])
