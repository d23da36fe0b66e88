"""Language models that answer the prompts of `fathom.prompting` by a rule: they know everything, look at places, follow fashion, babble."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
from worlds import Scripted

Wanted = Callable[[str, str], float]
"""Title of the latest event ('' without one), title -> how much it is wanted next, from 0 to 10."""

_HISTORY = re.compile(r"oldest first:\n((?:\d+\. .*\n)+)")
_LIST = re.compile(r"can be recommended next:\n((?:\d+\. .*\n)+)")
_PAIR = re.compile(r"^([A-Z])\. (.*)\n([A-Z])\. (.*)\nAnswer by", re.MULTILINE)
_POINT = re.compile(r"next\?\n(.*)\nAnswer by a number")


def titles_of(lines: str) -> list[str]:
    """The titles of a numbered list."""
    return [line.partition(". ")[2] for line in lines.splitlines()]


def wanting(wanted: Wanted) -> Scripted:
    """Answers every kind of question by how much each title is wanted; of equal ones it prefers what it is shown first."""

    def answer(prompt: str, seed: int) -> Sequence[str]:
        history = _HISTORY.search(prompt)
        latest = titles_of(history[1])[-1] if history else ""
        if listed := _LIST.search(prompt):
            order = sorted(titles_of(listed[1]), key=lambda title: -wanted(latest, title))
            return ["\n".join(f"{rank}. {title}" for rank, title in enumerate(order, start=1))]
        if pair := _PAIR.search(prompt):
            return [pair[1] if wanted(latest, pair[2]) >= wanted(latest, pair[4]) else pair[3]]
        [title] = _POINT.findall(prompt)
        return [f"{wanted(latest, title):g}"]

    return Scripted(answer)


def first_liked() -> Scripted:
    """Keeps lists as they are shown, prefers the first of two, finds everything middling."""
    return wanting(lambda latest, title: 5.0)


def babbling() -> Scripted:
    """Says much, and nothing that was asked for."""

    def answer(prompt: str, seed: int) -> Sequence[str]:
        words = ("Well", "perhaps", "something nice", "who knows", "rather not")
        return [", ".join(words[(crc32(prompt.encode()) + place) % len(words)] for place in range(4))]

    return Scripted(answer)


def rated_log(folder: Path) -> Path:
    """Sixty people, half of whom give 5 to everything and half of whom give 2; some events are not rated."""
    rng, lines = np.random.default_rng(0), ["user,item,rating,timestamp"]
    for user in range(60):
        for time, item in enumerate(rng.permutation(30)[:8].tolist()):
            rating = "" if (user + time) % 11 == 0 else 5 if user % 2 else 2
            lines.append(f"u{user},i{item},{rating},{time}")
    (folder / "log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "log.csv"
