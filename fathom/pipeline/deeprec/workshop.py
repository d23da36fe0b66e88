"""What the stages of the main job leave in its folder, beside what every run has."""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fathom.agents.protocol import HISTORY_OPEN, history_lines
from fathom.pipeline.deeprec.recipe import DeepRecRecipe
from fathom.pipeline.workshop import LanguageWorkshop, in_two, whole_histories
from fathom.recommenders.remembered import Remembered
from fathom.recommenders.retriever import Retriever
from fathom.records import Case, Interactions
from fathom.training.questions import select_cases

if TYPE_CHECKING:
    from fathom.language.policy import LocalPolicy
    from fathom.recommenders.language import LanguageRecommender

AGENTS = ("agent-warm", "agent-stage1", "agent-stage2", "agent")
"""The stages that leave an agent's language model behind, in the order of its life; the last one serves."""


class DeepRecWorkshop(LanguageWorkshop):
    """The main job's run folder."""

    recipe: DeepRecRecipe

    @cached_property
    def episode_retriever(self) -> Retriever:
        """The retriever that never saw the episodes' targets."""
        return Retriever.load(self.folder("retriever-fit"), self.catalog, self.encoder)

    @cached_property
    def retriever(self) -> Retriever:
        """The retriever that serves: continued on whole training histories."""
        return Retriever.load(self.folder("retriever"), self.catalog, self.encoder)

    @cached_property
    def _episode_shares(self) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
        """The held-out events of two disjoint groups of people: for traces, and for reinforcement learning."""
        return in_two(self.episode_cases, self.recipe.episodes.reinforce_share, seed=self.recipe.seed)

    @property
    def trace_cases(self) -> tuple[Case, ...]:
        """Held-out events that the warm start learns from."""
        return self._episode_shares[0]

    @cached_property
    def questions(self) -> list[tuple[Case, ...]]:
        """Held-out events that stage 1 and stage 2 of reinforcement learning ask for: within the retriever's reach."""
        hardest = min(self.recipe.episodes.hardest, self.catalog.n_items)
        return select_cases(self._episode_shares[1], self.episode_retriever, hardest=hardest, parts=2, seed=self.recipe.seed)

    def histories(self, interactions: Interactions) -> list[list[str]]:
        """Per user the events as the language model reads them: lines as in the protocol, oldest first."""
        everything = self.recipe.protocol.model_copy(update={"history_length": max(1, interactions.n_events)})
        return [history_lines(case, self.catalog, everything) for case in whole_histories(interactions)]

    def language_prompt(self, policy: "LocalPolicy", events: int) -> Callable[[Case], str]:
        """Renders a case's latest `events` as `policy` met them in training: whole ones, as many as leave a row room for a title."""
        language = self.recipe.language
        latest = self.recipe.protocol.model_copy(update={"history_length": events})
        longest = max(map(len, policy.table.encode_many([title + "\n" for title in self.catalog.titles])))
        room = min(language.windows.row, policy.context) - len(policy.encode(HISTORY_OPEN)) - longest

        def prompt(case: Case) -> str:
            events = history_lines(case, self.catalog, latest)
            taken = np.cumsum([len(tokens) for tokens in policy.table.encode_many(events[::-1])])
            return HISTORY_OPEN + "".join(events[len(events) - int(np.searchsorted(taken, room, side="right")) :])

        return prompt

    def language_recommender(self, stage: str, events: int) -> "LanguageRecommender":
        """The language model of the stage called `stage` by itself: the likelihood of each title after the latest `events`."""
        from fathom.recommenders.language import LanguageRecommender

        policy = self.policy(stage)
        return LanguageRecommender(policy, self.catalog, self.language_prompt(policy, events))

    @cached_property
    def language_row(self) -> Remembered:
        """The row `lm`; the row `mix` is asked the same cases, so it remembers what it said."""
        return Remembered(self.language_recommender("lm", self.recipe.language.prompt_events))
