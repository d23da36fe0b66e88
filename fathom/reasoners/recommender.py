"""Reason, then rank: a language model recommends by its own hidden state. Keeps the `Recommender` seam."""

from collections.abc import Sequence

from fathom.data.titles import catalog_with
from fathom.errors import ModelError
from fathom.items.search import search
from fathom.reasoners.dual_head import DualHead
from fathom.reasoners.reasoning import as_text, reason
from fathom.recommenders.ranked import joined
from fathom.records import Case, Catalog, Ranking, Reasoning


class R2ec:
    """R²ec (arXiv:2505.16994): one greedy reasoning per person, then one product with the item table, which must be fresh."""

    def __init__(self, head: DualHead, catalog: Catalog, *, budget: int | None = None) -> None:
        """`budget` takes the place of the settings' `reasoning_tokens`: 0 reads out right behind the prompt."""
        self.head = head
        self.catalog = catalog
        self.budget = budget

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k items of highest similarity to each person, in float32; ties go to the smaller id."""
        return self.rank(reason(self.head, cases, self.catalog, budget=self.budget), k, exclude_history=exclude_history)

    def rank(self, reasonings: Sequence[Reasoning], k: int, *, exclude_history: bool = True) -> Ranking:
        """The same behind reasonings that were written before. A table of older weights is a `ModelError`."""
        if not self.head.fresh:
            raise ModelError("the item table is of older weights than people would be read by: call refresh() on the head first")
        parts = []
        for start in range(0, len(reasonings), self.head.policy.at_once):
            batch = reasonings[start : start + self.head.policy.at_once]
            with self.head.at_rest():
                people = self.head.read([as_text(reasoning) for reasoning in batch])
            exclude = [reasoning.case.history if exclude_history else () for reasoning in batch]
            parts.append(search(people, self.head.table, k, exclude=exclude))
        return joined(parts, k)

    def add_items(self, items: Catalog, *, titled: bool = True) -> range:
        """Encode `items` behind the present ones, so that they can be recommended at once; returns their ids.

        Without `titled` they are encoded by all else that is known of them, as a model that was trained with `untitled` can: titles that
        it has never read tell it little. Attributes which the present catalogue does not have are left out. A title that is taken is a
        `DataError`.
        """
        first = self.catalog.n_items + 1
        catalog = catalog_with(self.catalog, items)
        self.head.add_items(catalog, titled=titled)
        self.catalog = catalog
        return range(first, catalog.n_items + 1)


class Reasoned:
    """Finished reasonings as a recommender of the very cases they are about."""

    def __init__(self, reasoner: R2ec, reasonings: Sequence[Reasoning]) -> None:
        self._reasoner = reasoner
        self._reasonings = {(reasoning.case.user, len(reasoning.case.history)): reasoning for reasoning in reasonings}

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The items of highest similarity behind the kept reasonings."""
        return self._reasoner.rank([self._reasonings[case.user, len(case.history)] for case in cases], k, exclude_history=exclude_history)
