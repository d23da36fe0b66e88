"""The films of the built-in world: attributes drawn around directors, titles and descriptions made of them."""

from dataclasses import dataclass

import numpy as np

from fathom.data.world_words import FIRST_NAMES, GENRES, HEROES, LAST_NAMES, MOODS, NUMERALS, PLACES, PLOTS
from fathom.records import PAD, Catalog, Floats, Ints

FILMS_PER_DIRECTOR = 8
SERIES_SHARE = 0.08
"""Share of the films that begin a series of two to four parts."""
DECADES = tuple(f"{year}s" for year in range(1950, 2030, 10))
GENRE_NAMES = tuple(GENRES)
MOOD_NAMES = tuple(MOODS)


@dataclass(frozen=True, slots=True)
class Films:
    """The numbers behind a catalogue; every array is indexed by item id, and its entry `PAD` is -1 or 0."""

    genre: Ints
    """(N + 1,) first genre, an index into `GENRE_NAMES`."""
    second: Ints
    """(N + 1,) second genre, -1 where there is none."""
    mood: Ints
    """(N + 1,) index into `MOOD_NAMES`."""
    decade: Ints
    """(N + 1,) index into `DECADES`."""
    director: Ints
    """(N + 1,) number of the director."""
    sequel: Ints
    """(N + 1,) item id of the next part of the series, `PAD` where there is none."""
    popularity: Floats
    """(N + 1,) how easily a film is come across, 0 for `PAD`."""


@dataclass(slots=True)
class _Draft:
    """One film before it has an id."""

    title: str
    year: int
    genre: int
    second: int
    mood: int
    director: int
    series: str
    part: int


def make_films(count: int, rng: np.random.Generator) -> tuple[Catalog, Films]:
    """`count` films of about `count` / 8 directors; who directs tells much of genre and mood, and a title tells of both.

    Ids are in random order, so that an id says nothing about popularity or series.
    """
    drafts = _drafts(count, rng)
    order = rng.permutation(count)
    drafts = [drafts[at] for at in order]
    sequel = np.full(count + 1, PAD, dtype=np.int64)
    ids = {(draft.series, draft.part): item for item, draft in enumerate(drafts, start=1) if draft.series}
    for (series, part), item in ids.items():
        sequel[item] = ids.get((series, part + 1), PAD)
    # Log-normal: a few films that everybody meets, many that few do.
    popularity = np.concatenate(([0.0], np.exp(rng.normal(0, 1.1, size=count))))
    names = _director_names(count, rng)
    return _catalog(drafts, names, rng), Films(
        genre=_column([draft.genre for draft in drafts]),
        second=_column([draft.second for draft in drafts]),
        mood=_column([draft.mood for draft in drafts]),
        decade=_column([(draft.year - 1950) // 10 for draft in drafts]),
        director=_column([draft.director for draft in drafts]),
        sequel=sequel,
        popularity=popularity.astype(np.float32),
    )


def _drafts(count: int, rng: np.random.Generator) -> list[_Draft]:
    """`count` drafts, the parts of a series one after the other."""
    directors = _directors(count)
    home_genre = rng.integers(len(GENRES), size=directors)
    home_mood = rng.integers(len(MOODS), size=directors)
    busy = rng.dirichlet(np.full(directors, 2.0))
    taken: set[str] = set()
    drafts: list[_Draft] = []
    while len(drafts) < count:
        director = int(rng.choice(directors, p=busy))
        genre = int(home_genre[director]) if rng.random() < 0.7 else int(rng.integers(len(GENRES)))
        mood = int(home_mood[director]) if rng.random() < 0.6 else int(rng.integers(len(MOODS)))
        second = int(rng.integers(len(GENRES))) if rng.random() < 0.5 else -1
        title = _title(genre, mood, taken, rng)
        parts = int(rng.integers(2, len(NUMERALS) + 1)) if rng.random() < SERIES_SHARE else 1
        year = 2019 - int(69 * rng.beta(1.2, 2.0))  # more recent films than old ones
        for part in range(min(parts, count - len(drafts))):
            series = title if parts > 1 else ""
            drafts.append(_Draft(title + NUMERALS[part], year, genre, -1 if second == genre else second, mood, director, series, part))
            year = min(year + int(rng.integers(1, 4)), 2025)
    return drafts


def _title(genre: int, mood: int, taken: set[str], rng: np.random.Generator) -> str:
    """A title that no film has yet, not even with another article; its words come from the mood and the genre."""
    nouns, adjectives = GENRES[GENRE_NAMES[genre]], MOODS[MOOD_NAMES[mood]]
    while True:
        noun, adjective, town = (words[int(rng.integers(len(words)))] for words in (nouns, adjectives, PLACES))
        short = f"{adjective} {noun}"
        core = short if rng.random() < 0.5 and short not in taken else f"{adjective} {noun} of {town}"
        if core not in taken:
            taken.add(core)
            return ("The " if rng.random() < 0.6 else "") + core


def _directors(count: int) -> int:
    """How many people direct `count` films."""
    return max(4, min(count // FILMS_PER_DIRECTOR, len(FIRST_NAMES) * len(LAST_NAMES)))


def _director_names(count: int, rng: np.random.Generator) -> list[str]:
    """A full name of its own for each director."""
    pairs = rng.permutation(len(FIRST_NAMES) * len(LAST_NAMES))[: _directors(count)]
    return [f"{FIRST_NAMES[pair // len(LAST_NAMES)]} {LAST_NAMES[pair % len(LAST_NAMES)]}" for pair in pairs.tolist()]


def _catalog(drafts: list[_Draft], names: list[str], rng: np.random.Generator) -> Catalog:
    """The drafts as the world outside sees them."""
    heroes = rng.integers(len(HEROES), size=len(drafts)).tolist()
    plots = rng.integers(2, size=len(drafts)).tolist()
    descriptions = []
    for draft, hero, plot in zip(drafts, heroes, plots, strict=True):
        genre, mood = GENRE_NAMES[draft.genre], MOOD_NAMES[draft.mood]
        article = "An" if mood[0] in "aeiou" else "A"
        story = f"{HEROES[hero]} {PLOTS[genre][plot]}"
        descriptions.append(f"{article} {mood} {genre.lower()} film of {draft.year} by {names[draft.director]}: {story}.")
    return Catalog(
        names=tuple(f"film-{item}" for item in range(1, len(drafts) + 1)),
        titles=tuple(f"{draft.title} ({draft.year})" for draft in drafts),
        attributes={
            "genres": tuple(tuple(GENRE_NAMES[genre] for genre in (draft.genre, draft.second) if genre >= 0) for draft in drafts),
            "mood": tuple((MOOD_NAMES[draft.mood],) for draft in drafts),
            "decade": tuple((DECADES[(draft.year - 1950) // 10],) for draft in drafts),
            "director": tuple((names[draft.director],) for draft in drafts),
            "series": tuple((draft.series,) if draft.series else () for draft in drafts),
        },
        descriptions=tuple(descriptions),
    )


def _column(values: list[int]) -> Ints:
    """One number per item id, -1 for `PAD`."""
    return np.array([-1, *values], dtype=np.int64)
