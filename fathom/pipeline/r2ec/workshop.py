"""What the stages of R²ec leave in a run folder, beside what every run has."""

import numpy as np

from fathom.data.splits import every_event
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

    @property
    def questions(self) -> tuple[Case, ...]:
        """Held-out events that reinforcement learning asks for."""
        return sampled(self.episode_cases, self.recipe.questions, seed=self.recipe.seed)

    def histories(self, interactions: Interactions) -> list[list[str]]:
        """Per user the events as the language model reads them, oldest first."""
        return [event_lines(case, self.catalog, self.recipe.reasoner) for case in whole_histories(interactions)]

    def some_histories(self, interactions: Interactions, share: float) -> tuple[Case, ...]:
        """The whole histories of a share of the people, drawn by the recipe's seed."""
        everyone = whole_histories(interactions)
        count = round(share * len(everyone))
        chosen = np.sort(np.random.default_rng(self.recipe.seed).choice(len(everyone), size=count, replace=False))
        return tuple(everyone[place] for place in chosen)

    def told_events(self, interactions: Interactions, most: int) -> tuple[Case, ...]:
        """Every event but the first, of people drawn by the recipe's seed, as long as they are at most `most`; 0: everybody's."""
        people = np.random.default_rng(self.recipe.seed).permutation(interactions.n_users)
        if most:
            events = np.maximum(np.diff(interactions.offsets) - 1, 0)
            people = people[: int(np.searchsorted(events[people].cumsum(), most, side="right"))]
        return every_event(interactions, np.sort(people))

    def head(self, stage: str) -> DualHead:
        """The model as the stage called `stage` left it, with its item table."""
        return DualHead.load(self.folder(stage), self.catalog, device=self.device)
