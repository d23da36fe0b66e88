"""What the stages of R²ec leave in a run folder, beside what every run has."""

from functools import cached_property

import numpy as np

from fathom.pipeline.r2ec.recipe import R2ecRecipe
from fathom.pipeline.workshop import Workshop, sampled, whole_histories
from fathom.reasoners.dual_head import DualHead
from fathom.reasoners.prompts import event_lines
from fathom.records import Case, Interactions

REASONERS = ("r2ec-warm", "r2ec-recpo", "r2ec")
"""The stages that leave a model behind that reasons, in the order of its life; the last one serves."""


class R2ecWorkshop(Workshop):
    """R²ec's run folder."""

    recipe: R2ecRecipe

    @cached_property
    def told_cases(self) -> tuple[Case, ...]:
        """Held-out events of half of the people: what the model learns to say something about."""
        return self._halves[0]

    @cached_property
    def asked_cases(self) -> tuple[Case, ...]:
        """Those of the other half: nothing of what follows there is told before reinforcement learning asks for it."""
        return self._halves[1]

    @property
    def questions(self) -> tuple[Case, ...]:
        """Held-out events that reinforcement learning asks for."""
        return sampled(self.asked_cases, self.recipe.questions, seed=self.recipe.seed)

    @cached_property
    def _halves(self) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
        people = np.random.default_rng(self.recipe.seed).permutation(sorted({case.user for case in self.episode_cases}))
        told = set(people[: -(-len(people) // 2)].tolist())
        first = tuple(case for case in self.episode_cases if case.user in told)
        return first, tuple(case for case in self.episode_cases if case.user not in told)

    def histories(self, interactions: Interactions) -> list[list[str]]:
        """Per user the events as the language model reads them, oldest first."""
        return [event_lines(case, self.catalog, self.recipe.reasoner) for case in whole_histories(interactions)]

    def some_histories(self, interactions: Interactions, share: float) -> tuple[Case, ...]:
        """The whole histories of a share of the people, drawn by the recipe's seed."""
        everyone = whole_histories(interactions)
        count = round(share * len(everyone))
        chosen = np.sort(np.random.default_rng(self.recipe.seed).choice(len(everyone), size=count, replace=False))
        return tuple(everyone[place] for place in chosen)

    def head(self, stage: str, *, beside: bool | None = None) -> DualHead:
        """The model as the stage called `stage` left it, with its item table; read out beside its silence as the recipe says, if not told.

        What is learned before reinforcement learning does not depend on that, so no stage before it is done again for it.
        """
        head = DualHead.load(self.folder(stage), self.catalog, device=self.device)
        chosen = self.recipe.reasoner.beside if beside is None else beside
        head.settings = head.settings.model_copy(update={"beside": chosen})
        return head
