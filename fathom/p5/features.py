"""What reviews speak of: feature words, and the sentence of a review that says something of one.

P5 takes both from a tool of sentiment analysis that reads part of speech. Here a feature is a word that many training reviews have and
that is none of everyday English: simpler, and learned from the training part alone.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from fathom.errors import MissingExtraError
from fathom.p5.lexicon import plain

try:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "scikit-learn", "llm") from error

_SENTENCE = re.compile(r"[^.!?]+[.!?]*")
_WORD = re.compile(r"[a-z]{3,}")
SHORTEST, LONGEST = 4, 30
"""Words that a sentence must have, and may have, to be an explanation."""

OPINIONS = frozenset(files("fathom.p5").joinpath("opinions.txt").read_text(encoding="utf-8").split())
"""Words that many reviews have and that are about nothing in particular."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a review says of a feature."""

    feature: str
    """'' where no sentence is of a feature."""
    explanation: str
    """The sentence; without a feature the first one that is long enough, '' where none is."""


def feature_words(reviews: Sequence[str], *, most: int = 300, widest: float = 0.2) -> tuple[str, ...]:
    """The words that most of `reviews` have, the commonest first: none of everyday English, none in more than a share `widest` of them.

    A word that only one review has is no feature.
    """
    counts: Counter[str] = Counter()
    for review in reviews:
        counts.update(set(_WORD.findall(review.lower())))
    common = [
        (word, count)
        for word, count in counts.items()
        if 1 < count <= widest * len(reviews) and word not in ENGLISH_STOP_WORDS and word not in OPINIONS
    ]
    return tuple(word for word, _ in sorted(common, key=lambda one: (-one[1], one[0]))[:most])


def spoken(review: str, features: Sequence[str]) -> Spoken:
    """What `review` says: of all its sentences, the one with the commonest of `features`, which stand in that order.

    >>> spoken("It is loud. The pickup sounds warm and clear.", ["pickup", "cable"])
    Spoken(feature='pickup', explanation='The pickup sounds warm and clear.')
    """
    sentences = [plain(part) for part in _SENTENCE.findall(review)]
    fit = [part for part in sentences if SHORTEST <= len(part.split()) <= LONGEST]
    place = {word: number for number, word in enumerate(features)}
    best: tuple[int, int] | None = None
    for number, sentence in enumerate(fit):
        for word in _WORD.findall(sentence.lower()):
            if word in place and (best is None or (place[word], number) < best):
                best = (place[word], number)
    if best is None:
        return Spoken("", fit[0] if fit else "")
    return Spoken(features[best[0]], fit[best[1]])
