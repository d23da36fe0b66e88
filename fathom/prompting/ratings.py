"""A reply becomes a rating: from its words, or from how likely each rating is."""

import math
import re
from collections.abc import Sequence

from fathom.prompting.answers import spoken

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER = r"(?P<{0}>-?\d+(?:[.,]\d+)?|" + "|".join(_WORDS) + r")(?P<{0}_half>\s+and\s+a\s+half|\s*½)?"
_OUT_OF = re.compile(
    rf"(?<![\w.]){_NUMBER.format('given')}\s*(?:stars?\s*)?(?:/|out\s+of|of|von)\s*{_NUMBER.format('best')}(?![\w])", re.IGNORECASE
)
_NAMED = re.compile(
    rf"\b(?:rating|score|answer|rate|predict\w*)\b[^\d\n]{{0,40}}?(?<![\w.]){_NUMBER.format('given')}(?![\w/])", re.IGNORECASE
)
_ANY = re.compile(rf"(?<![\w.]){_NUMBER.format('given')}(?![\w/])", re.IGNORECASE)
_STARS = re.compile(r"[★⭐]+½?")
_MARKS = re.compile(r"[*_`\"“”]")


def read_rating(reply: str, *, lowest: float, best: float) -> float | None:
    """The rating in a reply, moved into the scale; None where there is none.

    "4 out of 5" and "8/10" are shares of what they are out of, which is moved to the scale's best; what is called a rating counts before
    any other number; of several the last one is meant, since people think first.

    >>> read_rating("**Rating: 4.5/5**", lowest=1, best=5), read_rating("four", lowest=1, best=5), read_rating("8/10", lowest=1, best=5)
    (4.5, 4.0, 4.0)
    """
    text = _MARKS.sub("", spoken(reply))
    if shares := list(_OUT_OF.finditer(text)):
        given, of = _value(shares[-1], "given"), _value(shares[-1], "best")
        if of > 0:
            return _within(given if of == best else given / of * best, lowest, best)
    if stars := _STARS.findall(text):
        return _within(len(stars[-1].rstrip("½")) + 0.5 * stars[-1].endswith("½"), lowest, best)
    for pattern in (_NAMED, _ANY):
        if found := list(pattern.finditer(text)):
            return _within(_value(found[-1], "given"), lowest, best)
    return None


def expected_rating(logprobs: Sequence[float], ratings: Sequence[float]) -> float:
    """Sum of v p(v) over sum of p(v): `logprobs` of the `ratings` v as what is said next, not necessarily of all that could be.

    >>> round(expected_rating([math.log(0.2), math.log(0.6)], [3, 5]), 6)
    4.5
    """
    highest = max(logprobs)
    weights = [math.exp(one - highest) for one in logprobs]
    return sum(weight * rating for weight, rating in zip(weights, ratings, strict=True)) / sum(weights)


def _value(match: re.Match[str], name: str) -> float:
    words = match[name].lower()
    number = float(_WORDS.index(words)) if words in _WORDS else float(words.replace(",", "."))
    return number + 0.5 * bool(match[f"{name}_half"])


def _within(number: float, lowest: float, best: float) -> float:
    return min(max(number, lowest), best)
