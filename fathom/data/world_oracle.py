"""The recommender that cannot be beaten: it knows the laws by which the built-in world chose."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fathom.data.world_films import Films
from fathom.data.world_laws import LOVED, REACH, Doubles, Laws, Moment, Pockets, Tastes, Weights
from fathom.errors import ConfigError, DataError
from fathom.files import folder_written_aside, read_json, write_json
from fathom.records import PAD, Case, Floats, Interactions, Ints, Ranking

SCHEMA = "fathom-oracle/1"
BATCH = 512
"""Cases worked out at a time: bounds memory, changes nothing."""


class Oracle:
    """Ranks the films by their true probability to come next: no expected hit rate, NDCG or MRR can be higher.

    It holds what every user of the world did, finds a case in it by user and last event, and works out the state that the
    user was in. A case with a shortened history therefore gets the same answer. In a planted world it reads the rating of
    the last event; `without_ratings` gives the best that can be done from item ids and the laws alone.
    """

    def __init__(self, laws: Laws, interactions: Interactions, *, reads_ratings: bool = True) -> None:
        self.laws = laws
        self.interactions = interactions
        self.reads_ratings = reads_ratings
        self.n_items = laws.n_films

    def without_ratings(self) -> "Oracle":
        """The oracle of somebody who knows the laws and the tastes, but sees no rating; the same where nothing is planted."""
        return Oracle(self.laws, self.interactions, reads_ratings=False)

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k most probable next films of each case; ties go to the smaller id, scores are probabilities.

        Nobody takes a film twice, so films of the history have probability 0 and stand last; `exclude_history` drops them.
        """
        if k < 1:
            raise ConfigError(f"k is {k}: write 1 or more")
        items = np.full((len(cases), k), PAD, dtype=np.int64)
        scores = np.full((len(cases), k), -np.inf, dtype=np.float32)
        for start in range(0, len(cases), BATCH):
            batch = cases[start : start + BATCH]
            likely = self.probabilities(batch)
            likely[:, PAD] = -np.inf
            for row, case in enumerate(batch):
                if exclude_history:
                    likely[row, list(case.history)] = -np.inf
                best = np.argsort(-likely[row], kind="stable")[:k]
                best = best[likely[row, best] > -np.inf]
                items[start + row, : len(best)] = best
                scores[start + row, : len(best)] = likely[row, best]
        return Ranking(items=items, scores=scores)

    def probabilities(self, cases: Sequence[Case]) -> Floats:
        """(B, n_items + 1) float32 the probability of each film to come next; 0 for `PAD`. A case of another world is a `DataError`."""
        prefixes = [self._prefix(case) for case in cases]
        if not self.laws.weights.planted:
            return self.laws.distribution(self._moment(cases, prefixes, _nothing(cases))).astype(np.float32)
        same, other = self._moods(prefixes)
        if self.reads_ratings:
            loved = np.array(
                [len(prefix) > 0 and rating == LOVED for prefix, rating in zip(prefixes, self._last_ratings(cases, prefixes), strict=True)]
            )
            return self.laws.distribution(self._moment(cases, prefixes, np.where(loved, same, other))).astype(np.float32)
        both: Doubles = sum((self.laws.distribution(self._moment(cases, prefixes, mood)) for mood in (same, other)), np.zeros(1))
        return (both / 2).astype(np.float32)  # a film is loved or not with equal chances

    def save(self, folder: Path) -> None:
        """Write oracle.safetensors and oracle.json into `folder`, whole or not at all."""
        log = self.interactions
        arrays = {f"films.{name}": array for name, array in asdict(self.laws.films).items()}
        arrays |= {f"pockets.{name}": array for name, array in asdict(self.laws.pockets).items()}
        arrays |= {f"tastes.{name}": array for name, array in asdict(self.laws.tastes).items()}
        arrays |= {"log.offsets": log.offsets, "log.items": log.items}
        if log.ratings is not None:
            arrays["log.ratings"] = log.ratings
        with folder_written_aside(folder) as aside:
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, aside / "oracle.safetensors")
            write_json(aside / "oracle.json", {"schema": SCHEMA, "weights": asdict(self.laws.weights), "reads_ratings": self.reads_ratings})

    @classmethod
    def load(cls, folder: Path) -> "Oracle":
        """The oracle that `save` wrote into `folder`; a `DataError` where there is none or it is broken."""
        described = read_json(folder / "oracle.json")
        if not isinstance(described, dict) or described.get("schema") != SCHEMA or not isinstance(described["weights"], dict):
            raise DataError(f"{folder / 'oracle.json'}: not an oracle of schema {SCHEMA}: build the world again")
        try:
            arrays = load_file(folder / "oracle.safetensors")
            films, pockets, tastes = (
                {field.name: arrays[f"{part}.{field.name}"] for field in fields(record)}
                for part, record in (("films", Films), ("pockets", Pockets), ("tastes", Tastes))
            )
            offsets, items = arrays["log.offsets"], arrays["log.items"]
        except (OSError, SafetensorError, KeyError) as error:
            raise DataError(f"{folder / 'oracle.safetensors'}: cannot be read ({error}): build the world again") from error
        weights = Weights(**{name: float(str(value)) for name, value in described["weights"].items()})
        laws = Laws(Films(**films), Pockets(**pockets), Tastes(**tastes), weights=weights)
        users = tuple(f"user-{number}" for number in range(1, len(offsets)))
        log = Interactions(users=users, offsets=offsets, items=items, ratings=arrays.get("log.ratings"))
        return cls(laws, log, reads_ratings=bool(described["reads_ratings"]))

    def _prefix(self, case: Case) -> Ints:
        """Everything the case's user did up to the last event of its history."""
        if not 0 <= case.user < self.interactions.n_users:
            raise DataError(f"user {case.user} is not of this world: the oracle knows users 0 to {self.interactions.n_users - 1}")
        whole = self.interactions.history(case.user)
        at = np.flatnonzero(whole == case.history[-1]) if case.history else np.array([-1])
        stop = int(at[0]) + 1 if len(at) else 0
        if len(case.history) > stop or tuple(whole[stop - len(case.history) : stop].tolist()) != case.history:
            raise DataError(f"this history of user {case.user} never happened in this world: the oracle answers only for what it simulated")
        return whole[:stop]

    def _moment(self, cases: Sequence[Case], prefixes: Sequence[Ints], craved: Ints) -> Moment:
        """The state of the cases' users just before the event that is asked for."""
        recent = np.zeros((len(cases), REACH), dtype=np.int64)
        taken = np.zeros((len(cases), self.n_items + 1), dtype=np.bool_)
        taken[:, PAD] = True
        for row, prefix in enumerate(prefixes):
            newest = prefix[: -REACH - 1 : -1]
            recent[row, : len(newest)] = newest
            taken[row, prefix] = True
        users = np.array([case.user for case in cases], dtype=np.int64)
        steps = np.array([len(prefix) for prefix in prefixes], dtype=np.int64)
        return Moment(users=users, steps=steps, recent=recent, craved=craved, taken=taken)

    def _moods(self, prefixes: Sequence[Ints]) -> tuple[Ints, Ints]:
        """The mood of each last film, and the newest mood before it that is another one; -1 where there is none."""
        same, other = (np.full(len(prefixes), -1, dtype=np.int64) for _ in range(2))
        for row, prefix in enumerate(prefixes):
            if len(prefix):
                moods = self.laws.films.mood[prefix]
                different = np.flatnonzero(moods != moods[-1])
                same[row] = moods[-1]
                other[row] = moods[different[-1]] if len(different) else -1
        return same, other

    def _last_ratings(self, cases: Sequence[Case], prefixes: Sequence[Ints]) -> list[float]:
        """How each case's user rated the last film of the prefix; 0 where there is none."""
        ratings = self.interactions.ratings
        if ratings is None:
            raise DataError("this oracle has no ratings, which a planted world needs: build the world again")
        starts = self.interactions.offsets
        return [
            float(ratings[starts[case.user] + len(prefix) - 1]) if len(prefix) else 0.0
            for case, prefix in zip(cases, prefixes, strict=True)
        ]


def _nothing(cases: Sequence[Case]) -> Ints:
    """No craved mood for anybody."""
    return np.full(len(cases), -1, dtype=np.int64)
