"""Preferences as people state them, made up from what is known about an item: what the retriever and the traces learn from.

No log says what a user wished for before taking an item. So a wish is synthesised (DeepRec publishes no recipe): some of the
attributes of the item that came next, or of one taken shortly before, in changing words and order. Some wishes are empty, and
some are neutral: words that wish for nothing in particular and must therefore change nothing.
"""

import re
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from fathom.data.titles import canonical
from fathom.records import Catalog
from fathom.settings import Settings

NEUTRAL = (
    "whatever fits best",
    "something I would like next",
    "anything that suits my taste",
    "no particular wish",
    "more of what I usually like",
    "surprise me",
    "the best match for me",
    "what should come next",
    "anything good",
    "recommend something for me",
    "similar to what I took before",
    "nothing special in mind",
)
"""Texts that wish for nothing in particular; the retriever answers them about as it answers the empty text."""

PHRASES = ("{}", "{}", "{}", "more {}", "something {}", "in the mood for {}", "I would like {}", "preferably {}", "ideally {}", "{} again")
"""Ways to say one value; the bare value is the most frequent, since an agent writes phrases."""

ERAS = ("{}", "from the {}", "of the {}", "made in the {}")
"""Ways to say a decade."""

ERA = re.compile(r"\((?:[^()]*\D)?(1[89]\d|20\d)\d\)")
"""A year in parentheses, as the titles of films end."""

WORD = re.compile(r"[^\W\d_]{4,}")
"""Title words that mean something: letters only, four or more."""


class PreferenceSettings(Settings):
    """How preferences are made up."""

    empty: float = Field(default=0.2, ge=0, le=1)
    """Share of empty preferences in the retriever's training."""
    neutral: float = Field(default=0.1, ge=0, le=1)
    """Share of neutral texts in the retriever's training."""
    from_target: float = Field(default=0.7, ge=0, le=1)
    """Share of the stated wishes that speak of the item that came next; the others speak of a recent one."""
    recent: int = Field(default=5, ge=1)
    """How many of the newest items a wish may speak of."""
    keep: float = Field(default=0.5, gt=0, le=1)
    """Probability with which each known value of the item is said."""
    phrases: int = Field(default=5, ge=1)
    """The most phrases in one text."""
    title_words: float = Field(default=0.2, ge=0, le=0.2)
    """Share of the texts that quote one or two words of the title, never a whole title."""


def synthesise(catalog: Catalog, target: int, recent: Sequence[int], rng: np.random.Generator, settings: PreferenceSettings) -> str:
    """One preference for a user who takes `target` after `recent` (oldest first): '' or neutral for the shares set, else phrases.

    Phrases are joined by '; '. An item of which nothing is known gives a neutral text.
    """
    draw = rng.random()
    if draw < settings.empty:
        return ""
    if draw < settings.empty + settings.neutral:
        return neutral(rng)
    newest = recent[-settings.recent :]
    item = target if not newest or rng.random() < settings.from_target else int(rng.choice(newest))
    return wish(catalog, item, rng=rng, settings=settings)


def wish(catalog: Catalog, item: int, *, rng: np.random.Generator, settings: PreferenceSettings, shuffled: bool = True) -> str:
    """A stated preference for things like `item`: some of what is known about it, in changing words; neutral if nothing is known.

    `shuffled`: in any order; otherwise in that of the catalogue's attributes, words of the title last.
    """
    known = facts(catalog, item)
    said = [fact for fact in known if rng.random() < settings.keep]
    if known and not said:
        said = [known[int(rng.integers(len(known)))]]
    phrases = [_phrase(value, is_era, rng) for value, is_era in said]
    words = title_words(catalog, item)
    if words and rng.random() < settings.title_words:
        some = rng.choice(len(words), size=min(len(words), int(rng.integers(1, 3))), replace=False)
        phrases.append(" ".join(words[place] for place in sorted(some)))
    if not phrases:
        return neutral(rng)
    order = rng.permutation(len(phrases))[: settings.phrases]
    return "; ".join(phrases[place] for place in (order if shuffled else np.sort(order)))


def neutral(rng: np.random.Generator) -> str:
    """One of the `NEUTRAL` texts."""
    return NEUTRAL[int(rng.integers(len(NEUTRAL)))]


def described(catalog: Catalog, item: int) -> str:
    """Everything that is known about `item` as one preference, without its title: the upper bound of what a wish can say."""
    return "; ".join(value for value, _ in facts(catalog, item))


def facts(catalog: Catalog, item: int) -> list[tuple[str, bool]]:
    """What a wish for `item` may say: (value, whether it is a decade), in the catalogue's order, each value once.

    Where the catalogue has no attribute 'decade' the decade is read from a year in parentheses in the title.

    >>> catalog = Catalog(names=("1",), titles=("Heat (1995)",), attributes={"genres": (("Crime", "Thriller"),)})
    >>> facts(catalog, 1)
    [('Crime', False), ('Thriller', False), ('1990s', True)]
    """
    known = {value: name == "decade" for name, column in catalog.attributes.items() for value in column[item - 1]}
    year = ERA.search(catalog.title(item))
    if year and "decade" not in catalog.attributes:
        known[f"{year.group(1)}0s"] = True
    return list(known.items())


def title_words(catalog: Catalog, item: int) -> list[str]:
    """The words of the title that a wish may quote; none where quoting two could give the whole title away.

    >>> catalog = Catalog(names=("1", "2"), titles=("Heat (1995)", "The Silence of the Lambs (1991)"))
    >>> title_words(catalog, 1), title_words(catalog, 2)
    ([], ['Silence', 'Lambs'])
    """
    title = re.sub(r"\([^()]*\)", " ", catalog.title(item))
    words = WORD.findall(title)
    return words if len(words) > 2 or (words and len(canonical(title).split()) > len(words) + 1) else []


def _phrase(value: str, is_era: bool, rng: np.random.Generator) -> str:
    """One value in changing words."""
    ways = ERAS if is_era else PHRASES
    return ways[int(rng.integers(len(ways)))].format(value)
