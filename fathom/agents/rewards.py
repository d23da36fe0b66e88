"""What an episode earns: pure functions over finished episodes and item ids, with every part kept.

The formulas are those of DeepRec's released code (arXiv:2505.16810); the documented departures are that process and
outcome rewards are paid only when the format holds, that a repeated preference is no further call, that a repeated
title is worth nothing, and that a hit is an item id and never a substring.

    judge = stage1(settings, encoder.encode)
    judge(episode)  # {'format': 0.0, 'invocation': 0.5, 'diversity': 0.14, 'total': 0.64}
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fathom.agents.format import PROTOCOL_CHECKS
from fathom.contracts import Reward
from fathom.data.titles import canonical
from fathom.errors import ModelError
from fathom.records import PAD, Episode, Floats
from fathom.settings import Settings

Encode: TypeAlias = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""Texts -> (n, width) unit rows, as `TextEncoder.encode` gives them."""

Judge: TypeAlias = Callable[[Episode], dict[str, float]]
"""A finished episode -> what each part earned, and their sum as 'total'."""


class RewardSettings(Settings):
    """The weights of all rewards; the defaults are DeepRec's."""

    error: float = Field(default=-1.0, le=0)
    """Paid for a response with any format fault."""
    invocation: float = Field(default=0.5, ge=0)
    """For each call after the first."""
    invocation_most: int = Field(default=3, ge=1)
    """Calls beyond this many earn nothing more."""
    diversity: float = Field(default=0.2, ge=0)
    """For preferences that have nothing in common; less the more alike they are."""
    hit: float = Field(default=1.0, ge=0)
    """For the target anywhere in the answer."""
    rank: float = Field(default=0.2, ge=0)
    """For each place that the target stands above the end of the answer."""
    similarity: float = Field(default=10.0, ge=0)
    """For an answer full of items like the target."""
    answer_length: int = Field(default=10, ge=1)
    """Places of the answer that `rank` counts (K); the protocol's."""
    gate: Literal["format", "protocol", "none"] = "format"
    """When process and outcome rewards are paid: if the whole format holds, if the tool was used correctly, or always (as released)."""
    count_repeats: bool = False
    """A repeated preference counts as a call again (as released)."""
    repeat_similarity: float = Field(default=0.95, gt=0)
    """From this cosine on, a preference repeats an earlier one."""


class RememberedTexts:
    """Encodes each text once: preferences come again and again, and an encoder is slow."""

    def __init__(self, encode: Encode, *, most: int = 100_000) -> None:
        self._encode = encode
        self._most = most
        self._vectors: dict[str, npt.NDArray[np.float32]] = {}

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, width) rows of `texts`; hand over the texts of a whole batch first, and each one later costs nothing."""
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if len(self._vectors) + len(new) > self._most:
            self._vectors.clear()
            new = list(dict.fromkeys(texts))
        if new:
            self._vectors.update(zip(new, self._encode(new), strict=True))
        return np.stack([self._vectors[text] for text in texts])


class Similarity:
    """How alike two items are: the mean of the cosines of their text vectors and of their retriever vectors.

    Both tables are (n_items + 1, width) and have a zero row for `PAD`; rows are brought to unit length here.
    """

    def __init__(self, text_vectors: Floats, item_vectors: Floats) -> None:
        if len(text_vectors) != len(item_vectors):
            raise ModelError(
                f"{len(text_vectors)} text vectors but {len(item_vectors)} item vectors: both need a row per item and row 0 for none"
            )
        for name, table in (("text", text_vectors), ("item", item_vectors)):
            if table[PAD].any():
                raise ModelError(f"row 0 of the {name} vectors is not zero: it belongs to no item, so the rows may be shifted by one")
        self._tables = tuple(_unit(table) for table in (text_vectors, item_vectors))

    def to(self, target: int, items: Sequence[int]) -> Floats:
        """(n,) similarity of each of `items` to `target`, from -1 to 1; 0 where an item has no vector."""
        picked = list(items)
        both = [table[picked] @ table[target] for table in self._tables]
        similarity: Floats = (0.5 * (both[0] + both[1])).astype(np.float32)
        return similarity


def invocation(calls: int, settings: RewardSettings) -> float:
    """What a number of calls earns: nothing for the first, nothing more after `invocation_most`.

    >>> [invocation(n, RewardSettings()) for n in (0, 1, 2, 3, 8)]
    [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    return settings.invocation * max(0, min(calls, settings.invocation_most) - 1)


def effective_calls(episode: Episode, vectors: Encode, settings: RewardSettings) -> int:
    """How many executed calls asked for something new: other words, and no cosine of `repeat_similarity` to an earlier one."""
    preferences = [turn.preference for turn in episode.turns]
    if settings.count_repeats or len(preferences) < 2:
        return len(preferences)
    rows = vectors(preferences)
    words = [canonical(preference) for preference in preferences]
    new = 1
    for place in range(1, len(preferences)):
        alike = float((rows[:place] @ rows[place]).max())
        new += words[place] not in words[:place] and alike < settings.repeat_similarity
    return new


def diversity(episode: Episode, vectors: Encode, settings: RewardSettings) -> float:
    """`settings.diversity` times one minus the mean cosine of all pairs of executed preferences; 0 for fewer than two."""
    if len(episode.turns) < 2:
        return 0.0
    rows = vectors([turn.preference for turn in episode.turns])
    cosines = (rows @ rows.T)[np.triu_indices(len(rows), k=1)]
    return settings.diversity * (1.0 - float(cosines.mean()))


def hit(episode: Episode, settings: RewardSettings) -> float:
    """`settings.hit` if an answer line names the target."""
    return settings.hit * _names_target(episode)


def rank(episode: Episode, settings: RewardSettings) -> float:
    """`settings.rank` for each place that the target's first line stands above the end of a list of `answer_length`."""
    if not _names_target(episode):
        return 0.0
    return settings.rank * max(0, settings.answer_length - episode.answer.index(episode.case.target))


def point(episode: Episode, similarity: Similarity, settings: RewardSettings) -> float:
    """`settings.similarity` times the mean similarity of the answer to the target, weighted (1 - i/n)^2 for line i of n.

    A line that names no item counts 0, and so does a line that repeats an item.
    """
    lines = len(episode.answer)
    target = episode.case.target
    if not lines or target == PAD:
        return 0.0
    firsts = [item if item is not None and item not in episode.answer[:place] else PAD for place, item in enumerate(episode.answer)]
    weights = (1.0 - np.arange(lines) / lines) ** 2
    return settings.similarity * float(weights @ similarity.to(target, firsts) / weights.sum())


def stage1(settings: RewardSettings, encode: Encode) -> Judge:
    """Judges how the tool is used: format + invocation + diversity. Never the outcome."""

    def judge(episode: Episode) -> dict[str, float]:
        paid = pays(episode, settings)
        return _summed(
            {
                "format": format_penalty(episode, settings),
                "invocation": invocation(effective_calls(episode, encode, settings), settings) if paid else 0.0,
                "diversity": diversity(episode, encode, settings) if paid else 0.0,
            }
        )

    return judge


def stage2(settings: RewardSettings, similarity: Similarity) -> Judge:
    """Judges what is recommended: format + hit + rank + point (similarity to the target). Never how often the tool is called."""

    def judge(episode: Episode) -> dict[str, float]:
        paid = pays(episode, settings)
        return _summed(
            {
                "format": format_penalty(episode, settings),
                "hit": hit(episode, settings) if paid else 0.0,
                "rank": rank(episode, settings) if paid else 0.0,
                "point": point(episode, similarity, settings) if paid else 0.0,
            }
        )

    return judge


def weighted(**parts: tuple[float, Reward]) -> Judge:
    """A judge of one's own: a weight and a reward for each named part.

    judge = weighted(ndcg=(1.0, ndcg_of_target), format=(0.1, well_formed))
    judge(episode)  # {'ndcg': 0.63, 'format': 0.1, 'total': 0.73}
    """

    def judge(episode: Episode) -> dict[str, float]:
        return _summed({name: weight * reward(episode) for name, (weight, reward) in parts.items()})

    return judge


def format_penalty(episode: Episode, settings: RewardSettings) -> float:
    """`settings.error` for any fault, 0 for a well-formed response."""
    return 0.0 if episode.well_formed else settings.error


def pays(episode: Episode, settings: RewardSettings) -> bool:
    """Whether the gate lets process and outcome rewards through."""
    if settings.gate == "none":
        return True
    return not (PROTOCOL_CHECKS.intersection(episode.faults) if settings.gate == "protocol" else episode.faults)


def well_formed(episode: Episode) -> float:
    """1 if every format check passed."""
    return float(episode.well_formed)


def target_retrieved(episode: Episode) -> float:
    """1 if any call brought the target back: the ceiling of what can be answered."""
    return float(episode.case.target != PAD and episode.case.target in episode.retrieved)


def ndcg_of_target(episode: Episode) -> float:
    """1 / log2(place + 1) of the target's first line among the first ten of the written answer, else 0 (NDCG@10)."""
    return _ndcg(episode.answer[:10], episode.case.target)


def scored_ndcg_of_target(episode: Episode) -> float:
    """NDCG@10 of the target in the scored finish, which is never trained on; 0 where the episode was not scored."""
    return _ndcg(episode.scored[:10], episode.case.target)


def off_list_rate(episode: Episode) -> float:
    """The share of answer lines that name nothing that was retrieved; 0 for an empty answer."""
    retrieved = set(episode.retrieved)
    return sum(item not in retrieved for item in episode.answer) / max(1, len(episode.answer))


REWARDS: Mapping[str, Reward] = {
    reward.__name__: reward for reward in (well_formed, target_retrieved, ndcg_of_target, scored_ndcg_of_target, off_list_rate)
}
"""Figures without settings: watched in every training, and parts for `weighted`. The two stages train on none of them."""


def _names_target(episode: Episode) -> bool:
    return episode.case.target != PAD and episode.case.target in episode.answer


def _ndcg(ranked: Sequence[int | None], target: int) -> float:
    return 1.0 / math.log2(ranked.index(target) + 2) if target != PAD and target in ranked else 0.0


def _summed(parts: dict[str, float]) -> dict[str, float]:
    return {**parts, "total": math.fsum(parts.values())}


def _unit(table: Floats) -> Floats:
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    unit: Floats = np.divide(table, lengths, out=np.zeros_like(table, dtype=np.float32), where=lengths > 0)
    return unit
