"""Lists and what was relevant in the format of TREC, which ir-measures, ranx, pytrec_eval and others read."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from fathom.evaluation.evaluate import Evaluation
from fathom.files import write_text
from fathom.records import PAD, Catalog

KEPT_AS_IT_IS = "/:@#!$&'()*+,;=~"
"""Beside letters, digits and -._ in the names of users and items; blanks would end a field, so all else is written as in an address."""


def write_run(path: Path, evaluation: Evaluation, catalog: Catalog, *, users: Sequence[str], tag: str) -> None:
    """Write the kept heads of all lists, `topic Q0 item rank score tag`, under the names of the outside world.

    The score falls by one a place, since tools that read such runs sort by it.
    """
    lines = []
    for topic, items in zip(_topics(evaluation, users), evaluation.items.tolist(), strict=True):
        known = [item for item in items if item != PAD]
        lines += [f"{topic} Q0 {_item(catalog, item)} {place} {len(known) - place + 1} {tag}" for place, item in enumerate(known, start=1)]
    write_text(path, "\n".join([*lines, ""]))


def write_qrels(path: Path, evaluation: Evaluation, catalog: Catalog, *, users: Sequence[str]) -> None:
    """Write what was relevant, `topic 0 item 1`."""
    targets = evaluation.targets if evaluation.targets.ndim == 2 else evaluation.targets[:, None]
    lines = [
        f"{topic} 0 {_item(catalog, item)} 1"
        for topic, items in zip(_topics(evaluation, users), targets.tolist(), strict=True)
        for item in items
        if item != PAD
    ]
    write_text(path, "\n".join([*lines, ""]))


def _topics(evaluation: Evaluation, users: Sequence[str]) -> list[str]:
    """A name for each case: its user's, with the number of the question where somebody was asked several times."""
    asked = Counter(evaluation.users.tolist())
    nth: Counter[int] = Counter()
    names = []
    for user in evaluation.users.tolist():
        nth[user] += 1
        names.append(quote(users[user], safe=KEPT_AS_IT_IS) + (f"?{nth[user]}" if asked[user] > 1 else ""))
    return names


def _item(catalog: Catalog, item: int) -> str:
    return quote(catalog.names[item - 1], safe=KEPT_AS_IT_IS)
