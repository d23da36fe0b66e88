"""ReDial (Li et al., NeurIPS 2018): dialogues in which a seeker asks for films and a recommender suggests some."""

import csv
import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fathom.data.titles import display_titles, single_line
from fathom.errors import DataError
from fathom.records import Case, Catalog, Ints, Utterance

_NAMED = re.compile(r"@(\d+)")


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A conversation between two people."""

    name: str
    utterances: tuple[Utterance, ...]
    seeker: str
    """Who asks, under a name that stands for one person in all dialogues."""
    recommender: str
    """Who recommends."""


@dataclass(frozen=True, slots=True)
class Dialogues:
    """Conversations about a catalogue."""

    catalog: Catalog
    dialogues: tuple[Dialogue, ...]
    elsewhere: Ints
    """(n_items + 1,) how often each film is named in the whole data set, but for these dialogues."""


@dataclass(frozen=True, slots=True)
class RecommendationTurn:
    """A recommender names films that nobody has named before."""

    dialogue: int
    said: tuple[Utterance, ...]
    """Everything before."""
    case: Case
    """History: what was named before; target, and what is relevant beside it: what is named now for the first time."""


def read_redial(path: Path) -> Dialogues:
    """The dialogues in the folder `path`: test_data.jsonl.gz, movies_with_mentions.csv.

    Films that are spelt alike, but for blanks, are one; numbers that the list does not have stay as they are. What is no record is a
    `DataError` with its line.
    """
    catalog, items, counts = _films(path / "movies_with_mentions.csv")
    dialogues = []
    for number, record in enumerate(_records(path / "test_data.jsonl.gz"), start=1):
        try:
            seeker = record["initiatorWorkerId"]
            utterances = tuple(_utterance(message, seeker, items, catalog) for message in record["messages"])
            dialogues.append(Dialogue(str(record["conversationId"]), utterances, str(seeker), str(record["respondentWorkerId"])))
        except (KeyError, TypeError) as error:
            raise DataError(f"test_data.jsonl.gz line {number}: not a dialogue of ReDial ({error!r})") from error
    here = Counter(item for dialogue in dialogues for utterance in dialogue.utterances for item in utterance.items)
    elsewhere = np.array([max(0, count - here[item]) for item, count in enumerate(counts)], dtype=np.int64)
    return Dialogues(catalog, tuple(dialogues), elsewhere)


def recommendation_turns(dialogues: Sequence[Dialogue]) -> list[RecommendationTurn]:
    """Every utterance of a recommender that names a film for the first time, with everything before it."""
    turns = []
    for number, dialogue in enumerate(dialogues):
        named: dict[int, None] = {}
        for place, utterance in enumerate(dialogue.utterances):
            new = [item for item in dict.fromkeys(utterance.items) if item not in named]
            if new and utterance.speaker == "recommender":
                case = Case(number, tuple(named), new[0], later=tuple(new[1:]))
                turns.append(RecommendationTurn(number, dialogue.utterances[:place], case))
            named |= dict.fromkeys(utterance.items)
    return turns


def folds_of(dialogues: Sequence[Dialogue], folds: int) -> list[int]:
    """The fold of each dialogue, 0..folds-1: all dialogues in which the same person recommends are in one, and folds are as large as that
    allows."""
    by = Counter(dialogue.recommender for dialogue in dialogues)
    sizes, fold = [0] * folds, {}
    for person, count in sorted(by.items(), key=lambda one: (-one[1], one[0])):
        fold[person] = sizes.index(min(sizes))
        sizes[fold[person]] += count
    return [fold[dialogue.recommender] for dialogue in dialogues]


def apart_from(dialogues: Sequence[Dialogue], folds: Sequence[int], asked: Collection[int]) -> list[int]:
    """The places of the dialogues that may be learned from where the folds `asked` are asked about: nobody who recommends there has a part.

    People recommend the same films again and again: whoever has heard them before knows what they will say.
    """
    people = {dialogue.recommender for dialogue, fold in zip(dialogues, folds, strict=True) if fold in asked}
    return [place for place, dialogue in enumerate(dialogues) if not {dialogue.seeker, dialogue.recommender} & people]


def _films(path: Path) -> tuple[Catalog, dict[str, int], list[int]]:
    """The catalogue, the item of each number, and how often each item is named."""
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    except OSError as error:
        raise DataError(f"{path}: there is no such file") from error
    if not rows or {"movieId", "movieName", "nbMentions"} - rows[0].keys():
        raise DataError(f"{path} line 1: columns movieId, movieName and nbMentions are needed")
    titles: dict[str, int] = {}
    items: dict[str, int] = {}
    names: list[str] = []
    counts = [0]
    for line, row in enumerate(rows, start=2):
        title = single_line(row["movieName"] or "")
        if title not in titles:
            titles[title] = len(titles) + 1
            names.append(row["movieId"])
            counts.append(0)
        items[row["movieId"]] = titles[title]
        if not row["nbMentions"].isdigit():
            raise DataError(f"{path} line {line}: nbMentions is '{row['nbMentions']}', not a number")
        counts[titles[title]] += int(row["nbMentions"])
    return Catalog(tuple(names), display_titles(list(titles), [[]] * len(titles))), items, counts


def _records(path: Path) -> list[Any]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: no readable compressed file ({error})") from error
    records: list[Any] = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"{path} line {number}: not JSON ({error})") from error
    return records


def _utterance(message: Mapping[str, object], seeker: object, items: Mapping[str, int], catalog: Catalog) -> Utterance:
    """What was said, with the titles of the films that the list has."""
    text = str(message["text"])
    named = tuple(items[number] for number in _NAMED.findall(text) if number in items)
    words = _NAMED.sub(lambda told: catalog.title(items[told[1]]) if told[1] in items else told[0], text)
    return Utterance("seeker" if message["senderWorkerId"] == seeker else "recommender", single_line(words), named)
