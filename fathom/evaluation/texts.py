"""What models wrote beside what people wrote: BLEU and ROUGE as their reference packages count them, and how much is said at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fathom.errors import DataError, MissingExtraError
from fathom.evaluation.answered import load_answers, save_answers
from fathom.evaluation.compare import interval
from fathom.records import Ints

Numbers = npt.NDArray[np.float64]

ROUGES = ("rouge1", "rouge2", "rougeL")
"""As rouge-score calls them; figures are F-measures without stemming."""


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """What was written, what people wrote, and what it should be about."""

    users: Ints
    written: tuple[str, ...]
    references: tuple[str, ...]
    features: tuple[str, ...]
    """The word that each reference is about; '' where nothing is known."""

    def __post_init__(self) -> None:
        """Refuse a missing reference: nobody is left out of a mean."""
        if empty := sum(not text.strip() for text in self.references):
            raise DataError(f"{empty:,} of {len(self.references):,} references are empty: leave such cases out before they are asked")

    def save(self, path: Path, *, seconds: float) -> None:
        """Write one Parquet row a case, whole or not at all; what it took stands in each."""
        columns = {"user": self.users, "written": self.written, "reference": self.references, "feature": self.features}
        save_answers(path, columns, seconds=seconds)

    @staticmethod
    def load(path: Path) -> "tuple[Texts, float]":
        """What `save` wrote, and the seconds; another file is a `DataError`."""
        frame, seconds = load_answers(path, ("user", "written", "reference", "feature"), "texts")
        written, references, features = (tuple(frame[name].to_list()) for name in ("written", "reference", "feature"))
        return Texts(frame["user"].to_numpy(), written, references, features), seconds

    def rouge(self) -> dict[str, Numbers]:
        """Name -> (n,) F-measure of each text against its reference."""
        try:
            from rouge_score.rouge_scorer import RougeScorer
        except ModuleNotFoundError as error:
            raise MissingExtraError("rouge-score", "texts") from error
        scorer = RougeScorer(list(ROUGES), use_stemmer=False)
        pairs = zip(self.references, self.written, strict=True)
        scores = [scorer.score(reference, text) for reference, text in pairs]
        return {name: np.array([score[name].fmeasure for score in scores]) for name in ROUGES}

    def bleu(self) -> dict[str, float]:
        """BLEU of the whole set by n-grams up to 1, 2 and 4, from 0 to 1."""
        try:
            from sacrebleu.metrics.bleu import BLEU
        except ModuleNotFoundError as error:
            raise MissingExtraError("sacrebleu", "texts") from error
        found = {}
        for n in (1, 2, 4):
            score = BLEU(max_ngram_order=n, lowercase=True).corpus_score(list(self.written), [list(self.references)])
            found[f"bleu-{n}"] = score.score / 100
        return found

    def figures(self, *, seed: int = 0) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
        """BLEU, ROUGE, how many different things are said, and what of the features; and the 95 % intervals of ROUGE."""
        spans = {_named(name): interval(values, self.users, seed=seed) for name, values in self.rouge().items()}
        means = {name: span.mean for name, span in spans.items()} | self.bleu()
        means |= {f"distinct-{n}": distinct(self.written, n) for n in (1, 2)}
        means["unique_sentences"] = len(set(self.written)) / len(self.written)
        means |= feature_figures(self.written, self.features)
        low = {name: min(span.low, span.mean) for name, span in spans.items()}
        return means, low, {name: max(span.high, span.mean) for name, span in spans.items()}


def distinct(texts: Sequence[str], n: int) -> float:
    """Different n-grams of words over all n-grams of `texts` (Li et al. 2016); 0 where there are none.

    >>> distinct(["a b a", "a b"], 1), distinct(["a b a", "a b"], 2)
    (0.4, 0.6666666666666666)
    """
    grams = [tuple(words[at : at + n]) for words in (text.lower().split() for text in texts) for at in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def feature_figures(texts: Sequence[str], features: Sequence[str]) -> dict[str, float]:
    """Of texts about known features (Li, Zhang and Chen 2020): `feature_match`, the share that names its own; `feature_coverage`, the
    share of all features that any of them names; `feature_overlap`, how many features two of them share on average, less is more diverse.

    >>> feature_figures(["a warm sound", "no sound"], ["sound", "cable"])
    {'feature_match': 0.5, 'feature_coverage': 0.5, 'feature_overlap': 1.0}
    """
    known = sorted(set(features) - {""})
    if not known:
        return {}
    named = [{word for word in known if word in text.lower().split()} for text in texts]
    own = [feature in said for feature, said in zip(features, named, strict=True) if feature]
    counts = np.array([sum(word in said for said in named) for word in known], dtype=np.float64)
    pairs = len(texts) * (len(texts) - 1) / 2
    shared = float((counts * (counts - 1) / 2).sum())
    return {
        "feature_match": float(np.mean(own)),
        "feature_coverage": len(set().union(*named)) / len(known),
        "feature_overlap": shared / pairs if pairs else 0.0,
    }


def _named(rouge: str) -> str:
    """As papers write it: 'rouge-l'."""
    return f"rouge-{rouge.removeprefix('rouge').lower()}"
