"""A reply becomes an order of what was offered, whatever shape a language model gives its list.

Read are: numbered and bulleted lines, bold, quoted, fenced or in a table; JSON; titles or the numbers under which they were offered;
lists in one line; at last prose, in the order in which it names things. What the model thinks aloud before is left out.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fathom.prompting.matching import Titles, form_of, words_of

_THOUGHT = re.compile(r"<(think|thinking|thought|thoughts|reasoning|reflection|scratchpad)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHT_END = re.compile(r"</(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad)>", re.IGNORECASE)
_NUMBERED = re.compile(
    r"^\W{0,4}?(?:rank|no\.?|number|#)?\s*\(?(?P<number>\d{1,3})(?:st|nd|rd|th)?\s*(?:\*\*|__)?\s*[.):\]\-–—|]+\s*(?P<rest>.*)$",
    re.IGNORECASE,
)
_FENCE = re.compile(r"```\w*")
_BULLET = re.compile(r"^\s*[-*•–—·▪‣o]\s+(?P<rest>.*)$")
_MARKS = re.compile(r"\*\*|__|`|(?<!\w)[*_]|[*_](?!\w)")
_BARE = re.compile(r"^\W*(?:item|candidate|option|movie|game|book|no\.?|number|#)?\W*(?P<number>\d{1,3})\W*$", re.IGNORECASE)
_ASIDE = re.compile(
    r"\s[-–—]+\s|\s*[—]\s*|\s+(?:because|since|as it|for its)\s|\t|\s\|\s|(?<=[)\]\"”»*])\s*[:,;-]\s|\s\((?!\d{4}\b)", re.IGNORECASE
)
_EMPHASISED = re.compile(r"^\W{0,3}(?:\*\*|__)(?P<bold>.+?)(?:\*\*|__)|^\s*[\"“«](?P<quoted>.+?)[\"”»]")
_TITLE_KEYS = ("title", "name", "item", "movie", "game", "book", "id", "index", "number")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reply makes of the things that were offered to it."""

    order: tuple[int, ...]
    """Places among the offered, best first, each once."""
    offered: int
    """How many there were."""
    unknown: tuple[str, ...] = ()
    """Lines of the list that name nothing that was offered."""
    repeated: int = 0
    """Lines that name something for another time."""

    @property
    def compliant(self) -> bool:
        """Whether everything that was offered is named once, and nothing else."""
        return len(self.order) == self.offered and not self.unknown and not self.repeated

    @property
    def missing(self) -> tuple[int, ...]:
        """What is not named, as it was offered."""
        named = set(self.order)
        return tuple(place for place in range(self.offered) if place not in named)

    @property
    def completed(self) -> tuple[int, ...]:
        """A whole order: what is not named comes last, as it was offered."""
        return self.order + self.missing


class _Entry(NamedTuple):
    """A line of what may be a list."""

    whole: str
    """As it stands."""
    rest: str
    """Without its number or bullet."""


def read_order(reply: str, titles: Sequence[str]) -> Answer:
    """The order into which `reply` brings `titles`, which were offered under the numbers 1, 2, ... or none.

    Of several lists the one that names most counts, of equal ones the last. A number stands for what was offered under it where the whole
    list is numbers.

    >>> read_order("Let me think. 1. action\\n\\nSo:\\n1. **Heat** - a classic\\n2. Aliens", ["Alien", "Aliens", "Heat"])
    Answer(order=(2, 1), offered=3, unknown=(), repeated=0)
    """
    known = Titles(titles)
    said = spoken(reply)
    best, weight = Answer((), len(titles)), (0, 0)
    # What is JSON could be read as lines, too, but not rightly.
    after = len(said) + 1
    of_json = [(after + end, entries) for end, entries in _lists_of_json(said)]
    for end, entries in (*_lists_of_lines(said, known), *_lists_in_lines(said), *of_json):
        answer = _read(entries, known, titles)
        if answer.order and (len(answer.order), end) > weight:
            best, weight = answer, (len(answer.order), end)
    return best if best.order else Answer(_named_in_prose(said, titles), len(titles))


def read_titles(reply: str) -> list[tuple[str, ...]]:
    """What a reply lists out of its own head: of each line the readings that may be a title, the longest first.

    Of several lists the longest counts, of equal ones the last; a single line is split where there is no list.

    >>> [readings[-1] for readings in read_titles("Sure!\\n1. **Heat** - a heist\\n2. Alien")]
    ['Heat', 'Alien']
    """
    said = spoken(reply)
    after = len(said) + 1
    lists = [(after + end, entries) for end, entries in _lists_of_json(said)] or list(_lists_of_lines(said, Titles(())))
    if not lists and (lines := [line for _, line in _lines(said)]):
        lists = list(_lists_in_lines(lines[-1])) if len(lines) == 1 else [(0, [_Entry(line, line) for line in lines])]
    if not lists:
        return [(line.strip(),) for _, line in _lines(said)]
    entries = max(lists, key=lambda one: (len(one[1]), one[0]))[1]
    return [tuple(dict.fromkeys(text.strip() for text in _readings(entry)[1:] if text.strip())) for entry in entries]


def spoken(reply: str) -> str:
    """What is left of a reply without what was thought before."""
    text = _THOUGHT.sub("\n", reply)
    return _THOUGHT_END.split(text)[-1]


def _read(entries: Sequence[_Entry], known: Titles, titles: Sequence[str]) -> Answer:
    """The order of one list."""
    numbers = [_BARE.match(entry.rest) for entry in entries]
    if all(numbers) and not all(known.find(entry.rest) for entry in entries):
        found = [int(number["number"]) - 1 if number else -1 for number in numbers]
        places: list[int | None] = [place if 0 <= place < len(titles) else None for place in found]
    else:
        places = []
        for entry in entries:
            places.append(_place(entry, known, [place for place in places if place is not None]))
    order = tuple(dict.fromkeys(place for place in places if place is not None))
    unknown = tuple(entry.rest.strip() for entry, place in zip(entries, places, strict=True) if place is None)
    return Answer(order, len(titles), unknown, len(entries) - len(unknown) - len(order))


def _place(entry: _Entry, known: Titles, taken: Sequence[int]) -> int | None:
    """What a line names: as a whole, without its number, without its marks, without what is said about it."""
    if match := known.exact(entry.whole, taken) or known.exact(entry.rest, taken):  # as most lines are written
        return match.place
    for text in _readings(entry):
        if match := known.find(text, taken):
            return match.place
    return None


def _readings(entry: _Entry) -> list[str]:
    """What a line may name, the longest first."""
    plain = _MARKS.sub("", entry.rest).strip()
    told = _EMPHASISED.match(entry.rest)
    emphasised = [told["bold"] or told["quoted"]] if told else []
    return [entry.whole, entry.rest, plain, *emphasised, *(plain[: cut.start()] for cut in reversed(list(_ASIDE.finditer(plain))))]


def _lists_of_lines(text: str, known: Titles) -> Iterator[tuple[int, list[_Entry]]]:
    """Lists with one thing in a line, numbered, bulleted or bare, and where they end. Words between numbered lines are none."""
    numbered: list[_Entry] = []
    others: list[_Entry] = []
    last = numbered_end = others_end = 0
    for end, line in _lines(text):
        whole = line.strip().strip("|").strip()
        if number := _NUMBERED.match(whole):
            if numbered and int(number["number"]) == 1 and last > 1:
                yield numbered_end, numbered
                numbered = []
            last, numbered_end = int(number["number"]), end
            numbered.append(_Entry(whole, number["rest"].strip(" |")))
            continue
        bullet = _BULLET.match(line)
        entry = _Entry(whole, bullet["rest"].strip() if bullet else whole.rstrip(","))
        if bullet or _BARE.match(whole) or _place(entry, known, ()) is not None:
            others.append(entry)
            others_end = end
        elif others:
            yield others_end, others
            others = []
    yield from ((end, entries) for end, entries in ((others_end, others), (numbered_end, numbered)) if entries)


def _lists_in_lines(text: str) -> Iterator[tuple[int, list[_Entry]]]:
    """Lists within a line, and where they end; what stands before a colon may be no part of them."""
    for end, line in _lines(text):
        for mark in ">;,|→":
            if mark in line:
                for part in dict.fromkeys((line, line.partition(": ")[2] or line)):
                    pieces = [piece.strip(" .[]()") if _BARE.match(piece) else piece.strip() for piece in part.split(mark)]
                    numbers = [_NUMBERED.match(piece) for piece in pieces]
                    yield (
                        end,
                        [
                            _Entry(piece, number["rest"] if number else piece)
                            for piece, number in zip(pieces, numbers, strict=True)
                            if piece
                        ],
                    )


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines on which something is written, and where they end."""
    end = 0
    for line in text.splitlines(keepends=True):
        end += len(line)
        if re.search(r"\w", line) and not line.lstrip().startswith("```"):
            yield end, line.rstrip()


def _lists_of_json(text: str) -> Iterator[tuple[int, list[_Entry]]]:
    """Lists of JSON, wherever they stand, and where they end."""
    decoder, at = json.JSONDecoder(), 0
    while (start := min((place for mark in "[{" if (place := text.find(mark, at)) >= 0), default=-1)) >= 0:
        try:
            value, at = decoder.raw_decode(text, start)
        except ValueError:
            at = start + 1
            continue
        entries = _json_entries(value)
        # '[1996]' behind a title is no list, unless there is nothing else.
        if len(entries) > 1 or (entries and not re.search(r"\w", _FENCE.sub("", text[:start] + text[at:]))):
            yield at, entries


def _json_entries(value: object) -> list[_Entry]:
    """The entries of a list, of the first list in an object, or of an object from titles to scores or from ranks to titles."""
    if isinstance(value, list):
        return [_Entry(words, words) for one in value if (words := _json_words(one))]
    if not isinstance(value, dict):
        return []
    for inner in value.values():
        if isinstance(inner, list | dict) and (entries := _json_entries(inner)):
            return entries
    if all(isinstance(inner, int | float) for inner in value.values()):
        ranks = sorted(value.values()) == list(range(1, len(value) + 1))
        names = sorted(value, key=lambda name: value[name] if ranks else -value[name])
    elif all(name.isdigit() for name in value):
        names = [_json_words(value[name]) for name in sorted(value, key=int)]
    else:
        return []
    return [_Entry(name, name) for name in names if name]


def _json_words(value: object) -> str:
    """The title or number of one thing."""
    if isinstance(value, dict):
        keys = {key.lower(): key for key in value}
        found = [value[keys[key]] for key in _TITLE_KEYS if key in keys]
        return str(found[0]) if found else next((one for one in value.values() if isinstance(one, str)), "")
    return str(value) if isinstance(value, str | int) else ""


def _named_in_prose(text: str, titles: Sequence[str]) -> tuple[int, ...]:
    """Titles in the order in which a text first names them; where one is a part of another, the longer one is meant."""
    said = f" {words_of(text)} "
    where: dict[int, int] = {}
    for words, place in sorted(
        ((form_of(title).words, place) for place, title in enumerate(titles)), key=lambda one: (-len(one[0]), one[1])
    ):
        if (start := said.find(f" {words} ")) >= 0:
            where[place] = start
            said = said.replace(f" {words} ", f" {chr(0) * len(words)} ")
    return tuple(sorted(where, key=lambda place: where[place]))
