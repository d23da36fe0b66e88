"""The laws of the built-in world: which film comes next, given who somebody is and what they have taken so far.

A *pocket* is a distribution over some films: all of one genre and mood, of one director, of one genre and decade, of one
genre, of one mood, or all there are; inside a pocket a film weighs what its popularity weighs. The next film is drawn

    with `series` from the pending sequel, where the history left one open; otherwise from the mixture
    popular * (all films) + echo * (half the last film's genre and mood, half its director) + the rest * (the user's taste),

restricted to films not taken yet and to sequels whose predecessor was taken. A user's taste is a softmax over
`FAVOURITES` pockets whose logits drift with the step t: bias + drift * sin(2 pi (t / period + phase)).
In a *planted* world there is no pull of series; there the rating of the last film names a mood: 5 the mood of that film,
less the mood before it. The pockets of the user's two genres in that mood, and of the mood itself, then share the weight
`planted`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from fathom.data.world_films import DECADES, GENRE_NAMES, MOOD_NAMES, Films
from fathom.records import PAD, Ints

Doubles = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

FAVOURITES = 7
"""Pockets a user is fond of: two of genre and mood, two directors, one of genre and decade, one genre, one mood."""
REACH = 4
"""Events after which a series that was left off no longer pulls."""
LOVED = 5.0
"""The rating that asks for more of the same mood in a planted world."""
PATIENCE = 30
"""Rounds of drawing again what may not be taken, before the whole distribution is written out."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How strongly each law pulls; see the module's docstring."""

    series: float
    echo: float
    popular: float
    drift: float
    planted: float
    """0 in a world without a planted preference."""


@dataclass(frozen=True, slots=True)
class Pockets:
    """The small distributions: pocket p holds `members[starts[p]:starts[p + 1]]`. Pocket 0 holds all films."""

    starts: Ints
    members: Ints
    shares: Doubles
    """As long as `members`; the shares of one pocket sum to 1."""
    of_mood: Ints
    """(genres, moods) the pocket of each genre and mood."""
    of_director: Ints
    """(directors,) the pocket of each director."""
    of_decade: Ints
    """(genres, decades) the pocket of each genre and decade."""
    of_facet: Ints
    """(genres + moods,) the pocket of each genre, then of each mood."""

    def table(self, films: int) -> csr_array:
        """(pockets, films + 1) sparse: row p is the distribution of pocket p over item ids."""
        return csr_array((self.shares, self.members, self.starts), shape=(len(self.starts) - 1, films + 1))

    def edges(self) -> Doubles:
        """As long as `members`: where, on a line on which pocket p takes the place p..p+1, each film's share ends."""
        ends = np.cumsum(self.shares)
        before = np.concatenate(([0.0], ends))[self.starts[:-1]]
        pocket = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        edges = ends - before[pocket] + pocket
        edges[self.starts[1:] - 1] = np.arange(1, len(self.starts))  # rounding must not leave a gap at the end
        return edges


@dataclass(frozen=True, slots=True)
class Tastes:
    """Who the users are; row u belongs to user u."""

    favourites: Ints
    """(users, FAVOURITES) pockets."""
    bias: Doubles
    """(users, FAVOURITES)"""
    phase: Doubles
    """(users, FAVOURITES)"""
    period: Doubles
    """(users,) steps of one full turn of the drift."""
    genres: Ints
    """(users, 2) the genres a user is fond of."""
    moods: Ints
    """(users, 2) the moods a user is fond of."""

    def at(self, users: Ints, steps: Ints, drift: float) -> Doubles:
        """(B, FAVOURITES) weights of the favourites of `users` before event number `steps` (0: their first); rows sum to 1."""
        turn = steps[:, None] / self.period[users][:, None] + self.phase[users]
        powers = np.exp(self.bias[users] + drift * np.sin(2 * np.pi * turn))
        weights: Doubles = powers / powers.sum(axis=1, keepdims=True)
        return weights


@dataclass(frozen=True, slots=True)
class Moment:
    """Where B users stand just before their next event."""

    users: Ints
    steps: Ints
    """(B,) how many events each has had."""
    recent: Ints
    """(B, REACH) their last events, newest first, `PAD` where there are fewer."""
    craved: Ints
    """(B,) in a planted world the mood that the last rating names, -1 where it names none."""
    taken: Booleans
    """(B, films + 1) what each has had; column `PAD` is True."""


def make_pockets(films: Films) -> Pockets:
    """All pockets of a catalogue. One that would be empty holds all films, so every pocket can be drawn from."""
    everything = np.arange(1, len(films.genre))
    of_genre = [np.flatnonzero((films.genre == genre) | (films.second == genre)) for genre in range(len(GENRE_NAMES))]
    kinds = [
        [everything],
        [members[films.mood[members] == mood] for members in of_genre for mood in range(len(MOOD_NAMES))],
        [np.flatnonzero(films.director == director) for director in range(int(films.director.max()) + 1)],
        [members[films.decade[members] == decade] for members in of_genre for decade in range(len(DECADES))],
        [*of_genre, *(np.flatnonzero(films.mood == mood) for mood in range(len(MOOD_NAMES)))],
    ]
    groups = [group if len(group) else everything for kind in kinds for group in kind]
    weights = [films.popularity[group].astype(np.float64) for group in groups]
    _, of_mood, of_director, of_decade, of_facet = np.split(np.arange(len(groups)), np.cumsum([len(kind) for kind in kinds[:-1]]))
    return Pockets(
        starts=np.cumsum([0, *map(len, groups)]).astype(np.int64),
        members=np.concatenate(groups),
        shares=np.concatenate([weight / weight.sum() for weight in weights]),
        of_mood=of_mood.reshape(len(GENRE_NAMES), len(MOOD_NAMES)),
        of_director=of_director,
        of_decade=of_decade.reshape(len(GENRE_NAMES), len(DECADES)),
        of_facet=of_facet,
    )


def make_tastes(users: int, pockets: Pockets, rng: np.random.Generator) -> Tastes:
    """Users fond of two genres, each in a mood, of two directors, and of one decade of the first genre."""
    genres = _two_of(len(GENRE_NAMES), users, rng)
    moods = _two_of(len(MOOD_NAMES), users, rng)
    directors = pockets.of_director[_two_of(len(pockets.of_director), users, rng)]
    decade = pockets.of_decade[genres[:, 0], rng.integers(3, 7, size=users)]  # the 1980s to the 2010s
    facets = pockets.of_facet[np.column_stack([genres[:, 0], len(GENRE_NAMES) + moods[:, 0]])]
    return Tastes(
        favourites=np.column_stack([pockets.of_mood[genres, moods], directors, decade, facets]),
        bias=rng.normal(0, 0.5, size=(users, FAVOURITES)) + np.array([0.9, 0.6, 0.0, 0.0, 0.3, 0.8, 0.5]),
        phase=rng.random((users, FAVOURITES)),
        period=rng.uniform(20, 60, size=users),
        genres=genres,
        moods=moods,
    )


def _two_of(count: int, rows: int, rng: np.random.Generator) -> Ints:
    """(rows, 2) numbers below `count`, the two of a row different; small numbers are more frequent, as some genres are."""
    powers = 1 / (np.arange(count) + 3.0)
    first = rng.choice(count, size=rows, p=powers / powers.sum())
    second = rng.choice(count, size=rows, p=powers / powers.sum())
    return np.column_stack([first, np.where(second == first, (second + 1) % count, second)])


class Laws:
    """The next-film distribution, drawn from and written out: both follow the same mixture."""

    def __init__(self, films: Films, pockets: Pockets, tastes: Tastes, *, weights: Weights) -> None:
        self.films = films
        self.pockets = pockets
        self.tastes = tastes
        self.weights = weights
        self.n_films = len(films.genre) - 1
        self._predecessor = np.zeros(self.n_films + 1, dtype=np.int64)
        parts = np.flatnonzero(films.sequel != PAD)
        self._predecessor[films.sequel[parts]] = parts
        self._table = pockets.table(self.n_films)
        self._edges = pockets.edges()

    def draw(self, moment: Moment, rng: np.random.Generator) -> Ints:
        """(B,) the next film of each user, drawn from exactly the distribution that `distribution` writes out."""
        drawn = np.zeros(len(moment.users), dtype=np.int64)
        pending = self._pending(moment)
        follows = (pending != PAD) & (rng.random(len(drawn)) < self.weights.series)
        drawn[follows] = pending[follows]
        open_rows = np.flatnonzero(~follows)
        chosen, weights = self._mixture(moment)
        ends = np.cumsum(weights, axis=1)
        for _ in range(PATIENCE):
            if not len(open_rows):
                return drawn
            slot = (rng.random(len(open_rows))[:, None] >= ends[open_rows, :-1]).sum(axis=1)
            pocket = chosen[open_rows, slot]
            place = np.searchsorted(self._edges, pocket + rng.random(len(open_rows)), side="right")
            films = self.pockets.members[np.minimum(place, self.pockets.starts[pocket + 1] - 1)]
            allowed = ~moment.taken[open_rows, films] & moment.taken[open_rows, self._predecessor[films]]
            drawn[open_rows[allowed]] = films[allowed]
            open_rows = open_rows[~allowed]
        if len(open_rows):
            ends = np.cumsum(self._written_out(_rows(moment, open_rows)), axis=1)
            drawn[open_rows] = (rng.random(len(open_rows))[:, None] * ends[:, -1:] >= ends).sum(axis=1)
        return drawn

    def distribution(self, moment: Moment) -> Doubles:
        """(B, films + 1) the probability of each film to come next; 0 for `PAD` and for what may not come. Rows sum to 1."""
        probabilities = self._written_out(moment)
        pending = self._pending(moment)
        rows = np.flatnonzero(pending != PAD)
        probabilities[rows] *= 1 - self.weights.series
        probabilities[rows, pending[rows]] += self.weights.series
        return probabilities

    def _written_out(self, moment: Moment) -> Doubles:
        """(B, films + 1) the mixture without the pull of series, restricted to what may come."""
        chosen, weights = self._mixture(moment)
        starts = np.arange(0, chosen.size + 1, chosen.shape[1])
        mixed = csr_array((weights.ravel(), chosen.ravel(), starts), shape=(len(chosen), self._table.shape[0]))
        probabilities: Doubles = (mixed @ self._table).toarray()
        probabilities[moment.taken | ~moment.taken[:, self._predecessor]] = 0.0
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        return probabilities

    def _mixture(self, moment: Moment) -> tuple[Ints, Doubles]:
        """(B, S) pockets and (B, S) their weights; rows of weights sum to 1."""
        last = moment.recent[:, 0]
        known = last != PAD
        genre, mood, director = (column[last] for column in (self.films.genre, self.films.mood, self.films.director))
        craves = moment.craved >= 0
        planted = np.where(craves, self.weights.planted, 0.0)
        echo = np.where(known, self.weights.echo, 0.0)
        usual = 1 - planted
        taste = self.tastes.at(moment.users, moment.steps, self.weights.drift)
        of_mood = self.pockets.of_mood[self.tastes.genres[moment.users], moment.craved[:, None]]
        wanted = np.column_stack([of_mood, self.pockets.of_facet[len(GENRE_NAMES) + moment.craved]])
        chosen = [
            np.zeros((len(last), 1), dtype=np.int64),
            np.where(known, self.pockets.of_mood[genre, mood], 0)[:, None],
            np.where(known, self.pockets.of_director[director], 0)[:, None],
            self.tastes.favourites[moment.users],
            np.where(craves[:, None], wanted, 0),
        ]
        weights = [
            usual[:, None] * self.weights.popular,
            (usual * echo / 2)[:, None],
            (usual * echo / 2)[:, None],
            (usual * (1 - self.weights.popular - echo))[:, None] * taste,
            np.repeat(planted[:, None] / 3, 3, axis=1),
        ]
        return np.concatenate(chosen, axis=1), np.concatenate(weights, axis=1)

    def _pending(self, moment: Moment) -> Ints:
        """(B,) the sequel that the newest of the recent films left open; `PAD` where none did or series do not pull."""
        if self.weights.series == 0:
            return np.zeros(len(moment.users), dtype=np.int64)
        sequels = self.films.sequel[moment.recent]
        left_open = ~moment.taken[np.arange(len(sequels))[:, None], sequels]
        newest = left_open.argmax(axis=1)
        rows = np.arange(len(sequels))
        return np.where(left_open[rows, newest], sequels[rows, newest], PAD)


def _rows(moment: Moment, rows: Ints) -> Moment:
    """The moment of some of the users."""
    return Moment(moment.users[rows], moment.steps[rows], moment.recent[rows], moment.craved[rows], moment.taken[rows])
