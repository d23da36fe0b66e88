"""The built-in world: a simulated film catalogue and users whose next-film distribution is known; no download.

`python -m fathom.data.world` prints what a world looks like. The laws stand in `world_laws`, the films in `world_films`,
the ranking that nobody can beat in `world_oracle`; `docs/world.md` says how plausible it all is.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from fathom.data.dataset import Dataset
from fathom.data.world_films import Films, make_films
from fathom.data.world_laws import LOVED, REACH, Laws, Moment, Tastes, Weights, make_pockets, make_tastes
from fathom.data.world_oracle import Oracle
from fathom.records import PAD, Floats, Interactions, Ints
from fathom.settings import Settings

BLOCK = 2048
"""Users simulated together: bounds memory; part of what a seed means."""
MOST_FILMS = 20_000
"""More titles than this would need a larger vocabulary."""
SHORTEST, LONGEST = 5, 400
"""Events of a user, at least and at most."""
DAY = 86_400
FIRST_DAY = 1_420_070_400
"""2015-01-01, seconds since 1970."""


class WorldSettings(Settings):
    """What kind of world."""

    films: int = Field(default=1000, ge=50, le=MOST_FILMS)
    """Films at size 1."""
    users: int = Field(default=1500, ge=10)
    """Users at size 1."""
    events: int = Field(default=28, ge=SHORTEST, le=LONGEST)
    """Median number of events of a user."""
    size: float = Field(default=1.0, gt=0, le=200)
    """One dial: users grow with it, films with its square root. 20 makes about a million interactions."""
    seed: int = Field(default=0, ge=0)
    """Same seed and settings, same world."""
    series: float = Field(default=0.4, ge=0, lt=1)
    """Chance that the next film is the sequel which the history left open."""
    echo: float = Field(default=0.15, ge=0, lt=1)
    """Share of the choices that go by the last film: its genre and mood, or its director."""
    popular: float = Field(default=0.12, gt=0, lt=1)
    """Share of the choices that go by popularity alone."""
    drift: float = Field(default=1.2, ge=0, le=5)
    """How far a taste moves over time, in units of a softmax's logit; 0: it stays."""
    sitting: float = Field(default=1.0, ge=1)
    """Events of one sitting on average, minutes apart; between sittings, and with 1 between all events, lie days."""
    planted: bool = False
    """Plant a preference that only ratings show: loved (5): the same mood again; not: the mood before. No pull of series then."""
    planted_share: float = Field(default=0.85, gt=0, lt=1)
    """Share of the choices that obey the planted preference; read only with `planted`."""

    @model_validator(mode="after")
    def shares_leave_room(self) -> Self:
        """Refuse shares that leave nothing to taste, and more films than there are titles."""
        if self.echo + self.popular >= 1:
            raise ValueError(f"echo {self.echo} and popular {self.popular} leave nothing to taste: their sum must stay below 1")
        if self.n_films > MOST_FILMS:
            raise ValueError(f"films {self.films} at size {self.size} makes {self.n_films:,} films: at most {MOST_FILMS:,} can be named")
        return self

    @property
    def n_films(self) -> int:
        """Films in the world."""
        return max(50, round(self.films * float(np.sqrt(self.size))))

    @property
    def n_users(self) -> int:
        """Users in the world."""
        return max(10, round(self.users * self.size))


@dataclass(frozen=True, slots=True)
class World:
    """A dataset like any other, and the oracle that knows how it came about."""

    dataset: Dataset
    oracle: Oracle


def build_world(settings: WorldSettings) -> World:
    """The world of these settings; the default in about a second, a million interactions in well under a minute."""
    catalog, films = make_films(settings.n_films, np.random.default_rng([settings.seed, 1]))
    pockets = make_pockets(films)
    tastes = make_tastes(settings.n_users, pockets, np.random.default_rng([settings.seed, 2]))
    weights = Weights(
        series=0.0 if settings.planted else settings.series,
        echo=settings.echo,
        popular=settings.popular,
        drift=settings.drift,
        planted=settings.planted_share if settings.planted else 0.0,
    )
    laws = Laws(films, pockets, tastes, weights=weights)
    interactions = _interactions(laws, settings)
    source = f"fathom's built-in world, seed {settings.seed}, size {settings.size:g}{', planted preference' if settings.planted else ''}"
    dataset = Dataset("world", catalog, interactions, (), source, "Simulated; free for any use.")
    return World(dataset, Oracle(laws, interactions))


def _interactions(laws: Laws, settings: WorldSettings) -> Interactions:
    """What every user took, in order, with ratings and times."""
    rng = np.random.default_rng([settings.seed, 3])
    longest = min(LONGEST, settings.n_films // 3)
    wanted = np.exp(rng.normal(np.log(settings.events), 0.6, size=settings.n_users))
    lengths = np.clip(wanted.astype(np.int64), min(SHORTEST, longest), longest)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    items = np.zeros(offsets[-1], dtype=np.int64)
    ratings = np.zeros(offsets[-1], dtype=np.float32)
    # Longest first: the users who are still active are then always the first rows of a block.
    order = np.argsort(-lengths, kind="stable")
    for block, start in enumerate(range(0, len(order), BLOCK)):
        users = order[start : start + BLOCK]
        taken, rated = _walk(laws, users, lengths[users], rng=np.random.default_rng([settings.seed, 4, block]))
        there = np.arange(taken.shape[1]) < lengths[users, None]
        at = (offsets[users, None] + np.arange(taken.shape[1]))[there]
        items[at], ratings[at] = taken[there], rated[there]
    users = np.repeat(np.arange(settings.n_users), lengths)
    if not settings.planted:
        ratings = _ratings(laws.films, laws.tastes, users, items=items, rng=np.random.default_rng([settings.seed, 5]))
    return Interactions(
        users=tuple(f"user-{number}" for number in range(1, settings.n_users + 1)),
        offsets=offsets,
        items=items,
        ratings=ratings,
        times=_times(lengths, offsets, settings.sitting, np.random.default_rng([settings.seed, 6])),
    )


def _walk(laws: Laws, users: Ints, lengths: Ints, *, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """(B, T) films and (B, T) coin-flip ratings of `users`, whose `lengths` must not increase; rows end in `PAD` and 0.

    The ratings matter in a planted world alone, where they name the next mood; a coin flip cannot be seen in the films.
    """
    films = np.zeros((len(users), int(lengths[0])), dtype=np.int64)
    ratings = np.where(rng.random(films.shape) < 0.5, LOVED, rng.integers(1, 3, size=films.shape)).astype(np.float32)
    taken = np.zeros((len(users), laws.n_films + 1), dtype=np.bool_)
    taken[:, PAD] = True
    recent = np.zeros((len(users), REACH), dtype=np.int64)
    mood, other = np.full(len(users), -1), np.full(len(users), -1)
    craved = np.full(len(users), -1)
    for step in range(films.shape[1]):
        active = int((lengths > step).sum())
        steps = np.full(active, step)
        drawn = laws.draw(Moment(users[:active], steps, recent[:active], craved[:active], taken[:active]), rng)
        films[:active, step] = drawn
        taken[np.arange(active), drawn] = True
        recent[:active, 1:] = recent[:active, :-1].copy()
        recent[:active, 0] = drawn
        if laws.weights.planted:
            new_mood = laws.films.mood[drawn]
            other[:active] = np.where(new_mood != mood[:active], mood[:active], other[:active])
            mood[:active] = new_mood
            craved[:active] = np.where(ratings[:active, step] == LOVED, new_mood, other[:active])
    return films, np.where(films == PAD, 0, ratings).astype(np.float32)


def _ratings(films: Films, tastes: Tastes, users: Ints, *, items: Ints, rng: np.random.Generator) -> Floats:
    """(events,) 1 to 5: how well a film's genre and mood match the user's, how good it is, and chance."""
    quality = rng.normal(0, 0.5, size=len(films.genre))
    genre = (tastes.genres[users] == films.genre[items, None]).any(axis=1) | (tastes.genres[users] == films.second[items, None]).any(axis=1)
    mood = (tastes.moods[users] == films.mood[items, None]).any(axis=1)
    liked = 2.6 + 0.7 * genre + 0.9 * mood + quality[items] + rng.normal(0, 0.7, size=len(items))
    rounded: Floats = np.clip(np.rint(liked), 1, 5).astype(np.float32)
    return rounded


def _times(lengths: Ints, offsets: Ints, sitting: float, rng: np.random.Generator) -> Ints:
    """(events,) seconds since 1970: each user starts on some day of four years, then a film every few days, now and then two a day.

    With `sitting` above 1 another event follows within twenty minutes, with the probability that makes so many of them on average.
    """
    gaps = 5400 + DAY * np.exp(rng.normal(0.5, 1.2, size=offsets[-1]))
    starts = FIRST_DAY + rng.uniform(0, 4 * 365 * DAY, size=len(lengths))
    if sitting > 1:
        soon = rng.random(offsets[-1]) < 1 - 1 / sitting
        gaps = np.where(soon, rng.uniform(20, 1200, size=offsets[-1]), gaps)
    run = np.cumsum(gaps)
    return (run - np.repeat(run[offsets[:-1]] - starts, lengths)).astype(np.int64)


def statistics(dataset: Dataset) -> Mapping[str, float]:
    """Counts, history lengths and popularity skew of a dataset.

    'popularity gini' is 0 where all items are taken equally often and nears 1 where one item has it all; 'top tenth' is the
    share of the interactions that the most frequent tenth of the items has.
    """
    log = dataset.interactions
    lengths = np.diff(log.offsets)
    counts = np.sort(np.bincount(log.items, minlength=dataset.catalog.n_items + 1)[1:])
    ranks = np.arange(1, len(counts) + 1)
    figures = {
        "users": log.n_users,
        "items": dataset.catalog.n_items,
        "interactions": log.n_events,
        "density": log.n_events / (log.n_users * dataset.catalog.n_items),
        "popularity gini": float((2 * ranks - len(counts) - 1) @ counts / (len(counts) * counts.sum())),
        "top tenth": float(counts[-(len(counts) // 10) :].sum() / counts.sum()),
        "mean length": float(lengths.mean()),
    }
    figures |= {f"length quantile {share:.0%}": float(np.quantile(lengths, share)) for share in (0, 0.1, 0.5, 0.9, 1)}
    if log.ratings is not None:
        figures["mean rating"] = float(np.nanmean(log.ratings))
    return figures


def main() -> None:
    """Print the statistics of a world."""
    parser = argparse.ArgumentParser(prog="python -m fathom.data.world", description="What the built-in world looks like.")
    parser.add_argument("--size", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--planted", action="store_true")
    given = parser.parse_args()
    world = build_world(WorldSettings(size=given.size, seed=given.seed, planted=given.planted))
    for name, figure in statistics(world.dataset).items():
        print(f"{name:22} {figure:>12,.3f}".removesuffix(".000"))


if __name__ == "__main__":
    main()
