"""The language model as a recommender by itself: no retrieval, no reasoning, only the likelihood of each title after the history."""

from collections.abc import Callable, Sequence

from fathom.language.likelihood import CatalogLikelihood
from fathom.language.policy import LocalPolicy
from fathom.records import Case, Catalog, Ranking


class LanguageRecommender:
    """Ranks the whole catalogue exactly by log p(title, newline | prompt); keeps the `Recommender` seam.

    `prompt` renders a case as the model met histories in training, ending where the next title would begin.
    """

    def __init__(self, policy: LocalPolicy, catalog: Catalog, prompt: Callable[[Case], str], *, batch_size: int = 64) -> None:
        self._likelihood = CatalogLikelihood(policy, catalog.titles, batch_size=batch_size)
        self._prompt = prompt

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k most likely items of each case; scores are log-likelihoods; ties go to the smaller id."""
        exclude = [frozenset(case.history) if exclude_history else frozenset[int]() for case in cases]
        return self._likelihood.top([self._prompt(case) for case in cases], k, exclude=exclude)
