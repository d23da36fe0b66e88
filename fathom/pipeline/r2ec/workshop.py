"""What the stages of R²ec leave in a run folder, beside what every run has."""

from functools import cached_property

import numpy as np

from fathom.data.splits import every_event
from fathom.pipeline.r2ec.recipe import LessonSettings, R2ecRecipe
from fathom.pipeline.workshop import Workshop, in_two, sampled, some_people, whole_histories
from fathom.reasoners.dual_head import DualHead
from fathom.reasoners.prompts import event_lines
from fathom.records import Case, Interactions

REASONERS = ("r2ec-warm", "r2ec-recpo", "r2ec")
"""The stages that leave a model behind that reasons, in the order of its life; the last one serves."""


class R2ecWorkshop(Workshop):
    """R²ec's run folder."""

    recipe: R2ecRecipe

    @cached_property
    def _shares(self) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
        """The held-out events of two disjoint groups of people: for what prepares reinforcement learning, and for itself."""
        return in_two(self.episode_cases, self.recipe.reinforce_share, seed=self.recipe.seed)

    @property
    def lesson_cases(self) -> tuple[Case, ...]:
        """Held-out events about which reasonings are made up, and then written by the model itself."""
        return self._shares[0]

    @property
    def questions(self) -> tuple[Case, ...]:
        """Held-out events that reinforcement learning asks for."""
        return sampled(self._shares[1], self.recipe.questions, seed=self.recipe.seed)

    def histories(self, interactions: Interactions) -> list[list[str]]:
        """Per user the events as the language model reads them, oldest first."""
        return [event_lines(case, self.catalog, self.recipe.reasoner) for case in whole_histories(interactions)]

    def some_histories(self, interactions: Interactions, share: float) -> tuple[Case, ...]:
        """The whole histories of a share of the people, drawn by the recipe's seed."""
        everyone = whole_histories(interactions)
        count = round(share * len(everyone))
        chosen = np.sort(np.random.default_rng(self.recipe.seed).choice(len(everyone), size=count, replace=False))
        return tuple(everyone[place] for place in chosen)

    def reasoned_about(self, held: tuple[Case, ...], interactions: Interactions, settings: LessonSettings) -> tuple[Case, ...]:
        """Cases for lessons: of some people the `held` ones, or `everywhere` all events of `interactions` but the first."""
        if settings.everywhere:
            events = np.maximum(np.diff(interactions.offsets) - 1, 0)
            order = np.random.default_rng(self.recipe.seed).permutation(interactions.n_users)
            if settings.most:
                order = order[: int(np.searchsorted(events[order].cumsum(), settings.most, side="right"))]
            return every_event(interactions, np.sort(order))
        return some_people(held, settings.most, seed=self.recipe.seed)

    def head(self, stage: str) -> DualHead:
        """The model as the stage called `stage` left it, with its item table."""
        return DualHead.load(self.folder(stage), self.catalog, device=self.device)
