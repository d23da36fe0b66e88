"""A language model names what comes next out of its own head; what it names is grounded in the catalogue, and the list is filled up.

No title that the catalogue does not have is ever shown. Twice as many titles are asked for as are wanted, since some name nothing, some
are seen, and some come twice; or a trie over the catalogue keeps the model to titles that are there, new to the person, and named once.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from pydantic import Field

from fathom.contracts import Policy, Recommender
from fathom.errors import ConfigError
from fathom.prompting.answers import read_titles, spoken
from fathom.prompting.asking import Answered, AskingSettings, asked, fitted, mark_of, opened
from fathom.prompting.ground import Grounded, Grounder
from fathom.prompting.prompts import numbered, prompts_of
from fathom.recommenders.among import ranking_of
from fathom.records import PAD, Case, Catalog, Floats, Ranking


class GeneratorSettings(AskingSettings):
    """What the model is shown, how much it is asked for."""

    prompts: str = "next"
    """The prompts that come with Fathom, or a file of one's own."""
    shuffled: bool = False
    """The history is shown in a drawn order: does it matter?"""
    intent: bool = False
    """First the model is asked what the person is after; its answer stands in the second question."""
    spare: float = Field(default=2.0, ge=1)
    """So many times as many titles are asked for as are wanted."""
    constrained: bool = False
    """Each token is one that leads to a title of the catalogue, new to the person and not yet named: as many as are wanted. It needs a
    language model that is here."""


@dataclass(frozen=True, slots=True)
class Generated:
    """What came out for a case."""

    user: int
    items: tuple[Grounded, ...]
    """Best first: what the model named, then what fills the list."""
    reasons: tuple[str, ...]
    """Of each item, the titles of the history to which its text is nearest; '' without a history or texts."""
    intent: str
    """What the person is after, by the model; '' where it was not asked."""
    tally: Mapping[str, int]
    """How many `questions` were asked; lines that the model `named`; of them `unknown`, `repeated`, `seen`; items that were `filled`;
    tokens `read` and `written`."""
    prompt: str = ""
    reply: str = ""
    seconds: float = field(default=0.0, compare=False)
    """Its share of the wall clock."""


class Generator:
    """Keeps the `Recommender` seam by free generation."""

    def __init__(
        self,
        policy: Policy,
        catalog: Catalog,
        grounder: Grounder,
        fallback: Recommender,
        settings: GeneratorSettings,
        *,
        vectors: Floats | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """`fallback` fills what is empty still; `vectors` (n_items + 1, d) of the items' texts say which of a history is a reason."""
        self._policy = policy
        self._catalog = catalog
        self._grounder = grounder
        self._fallback = fallback
        self._settings = settings
        self._vectors = vectors
        self._prompts = prompts_of(settings.prompts, "next")
        self._progress = progress

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k items of each case; what is in the history is never among them."""
        if not exclude_history:
            raise ConfigError("what is asked for is new: a list with items of the history is none that a model was asked for")
        lists = [[one.item for one in told.items] for told in self.generate(cases, k)]
        return ranking_of(lists, k)

    def generate(self, cases: Sequence[Case], k: int) -> list[Generated]:
        """k items for each case, in order, with what led to them."""
        told: list[Generated] = []
        for start in range(0, len(cases), self._policy.at_once):
            began, part = time.perf_counter(), cases[start : start + self._policy.at_once]
            shown = [self._shown(case) for case in part]
            intents = [""] * len(part)
            first = [Answered("", 0, 0)] * len(part)
            if self._settings.intent:
                _, first = self._asked("intent", part, shown, intents, k)
                intents = [" ".join(spoken(answer.text).split()) for answer in first]
            prompts, answers = self._asked("next", part, shown, intents, k)
            listed = [self._listed(answer.text, k) for answer in answers]
            filling = self._fallback.recommend(part, 2 * k).items.tolist()
            share = (time.perf_counter() - began) / len(part)
            for row, (case, answer) in enumerate(zip(part, answers, strict=True)):
                whole = Answered(answer.text, first[row].read + answer.read, first[row].written + answer.written)
                told.append(replace(self._one(case, listed[row], whole, prompts[row], filling[row], intents[row], k), seconds=share))
            if self._progress is not None:
                self._progress(len(part))
        return told

    def _one(
        self, case: Case, listed: Sequence[tuple[str, ...]], answer: Answered, prompt: str, filling: Sequence[int], intent: str, k: int
    ) -> Generated:
        named, strangers, counts = self._grounder.find(listed, hidden=set(case.history))
        named = named[:k]
        taken = {*case.history, *(one.item for one in named)}
        near = self._grounder.neighbours(strangers, k - len(named), hidden=taken)
        taken |= {one.item for one in near}
        rest = [Grounded(item, "retriever", 0.0, "") for item in filling if item != PAD and item not in taken]
        items = (*named, *near, *rest[: k - len(named) - len(near)])
        tally = {"questions": 1 + self._settings.intent, "named": len(listed), **counts, "filled": len(items) - len(named)}
        tally |= {"read": answer.read, "written": answer.written}
        return Generated(case.user, items, self._reasons(case, items), intent, tally, prompt, answer.text)

    def _asked(
        self, strategy: str, cases: Sequence[Case], shown: Sequence[Sequence[str]], intents: Sequence[str], k: int
    ) -> tuple[list[str], list[Answered]]:
        count = str(int(np.ceil(self._settings.spare * k)))

        def prompt(titles: Sequence[str], intent: str) -> str:
            def filled(kept: Sequence[str]) -> str:
                slots = {"history": numbered(kept), "earlier": numbered(kept[:-1]), "latest": kept[-1] if kept else ""}
                slots |= {"lines": "\n".join(kept), "count": count, "intent": intent}
                return self._prompts.render(strategy, self._settings.words, slots)

            return fitted(titles, filled, self._policy, self._settings, name=strategy)

        prompts = [prompt(titles, intent) for titles, intent in zip(shown, intents, strict=True)]
        seeds = [mark_of(self._settings.seed, strategy, case.user, case.history) for case in cases]
        if strategy == "next" and self._settings.constrained:
            return prompts, self._kept_to_titles(prompts, cases, seeds, k)
        return prompts, asked(self._policy, prompts, self._settings, seeds)

    def _kept_to_titles(self, prompts: Sequence[str], cases: Sequence[Case], seeds: Sequence[int], k: int) -> list[Answered]:
        lists = opened(self._policy, prompts, self._settings, seeds).write_list(
            range(len(prompts)),
            self._catalog.titles,
            numbers=["\n" * (place == 0) + lead if lead else "" for place, lead in enumerate(self._leads(k))],
            closing="",
            forbidden=[case.history for case in cases],
            limits=[self._settings.reply_tokens] * len(prompts),
        )
        read = [len(self._policy.encode(prompt)) for prompt in prompts]
        return [Answered(one.text.removeprefix("\n"), there, len(one.tokens)) for one, there in zip(lists, read, strict=True)]

    def _listed(self, reply: str, k: int) -> list[tuple[str, ...]]:
        """Of each line the readings that may be a title; under constraint whole lines are titles, and what the limit cut off is none."""
        if not self._settings.constrained:
            return read_titles(reply)
        lines = reply.split("\n")[:-1]
        return [(line.removeprefix(lead),) for line, lead in zip(lines, self._leads(k)[: len(lines)], strict=True)]

    def _leads(self, k: int) -> list[str]:
        """What stands before each of k titles: nothing where the prompt itself shows a history as bare lines."""
        bare = "lines" in self._prompts.slots("next")
        return ["" if bare else f"{place}. " for place in range(1, k + 1)]

    def _shown(self, case: Case) -> list[str]:
        latest = case.history[-self._settings.history_length :]
        if self._settings.shuffled:
            draw = np.random.default_rng([self._settings.seed, mark_of(case.user, case.history)])
            latest = tuple(draw.permutation(latest).tolist())
        return [self._catalog.title(item) for item in latest]

    def _reasons(self, case: Case, items: Sequence[Grounded]) -> tuple[str, ...]:
        """Of each item the one or two of the history whose texts are nearest to its own."""
        if self._vectors is None or not case.history or not items:
            return ("",) * len(items)
        cosines = self._vectors[[one.item for one in items]] @ self._vectors[list(case.history)].T
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :2]
        return tuple(" and ".join(self._catalog.title(case.history[place]) for place in row) for row in nearest.tolist())


def generated_figures(told: Sequence[Generated]) -> dict[str, float]:
    """Shares of the lines that were named: `hallucinated` (they name nothing), `duplicate_items`, `seen_items`; `filled`, the share of the
    items that nobody named; `questions`, `named`, `tokens` and `context_tokens` for each person; `by/<how>`, the share of items that were
    found so."""
    lines = max(sum(one.tally["named"] for one in told), 1)
    items = [grounded for one in told for grounded in one.items]
    ways = {way: sum(grounded.by == way for grounded in items) / max(len(items), 1) for way in sorted({grounded.by for grounded in items})}
    return {
        "questions": sum(one.tally["questions"] for one in told) / len(told),
        "named": lines / len(told),
        "hallucinated": sum(one.tally["unknown"] for one in told) / lines,
        "duplicate_items": sum(one.tally["repeated"] for one in told) / lines,
        "seen_items": sum(one.tally["seen"] for one in told) / lines,
        "filled": sum(one.tally["filled"] for one in told) / max(len(items), 1),
        "tokens": sum(one.tally["written"] for one in told) / len(told),
        "context_tokens": sum(one.tally["read"] + one.tally["written"] for one in told) / len(told),
        **{f"by/{way}": share for way, share in ways.items()},
    }


def order_sensitivity(straight: Sequence[Generated], shuffled: Sequence[Generated]) -> float:
    """How much of a list changes when the history is shown in another order: the mean share of items that are not in both, 0 to 1."""
    changed = []
    for one, other in zip(straight, shuffled, strict=True):
        first, second = ({grounded.item for grounded in told.items} for told in (one, other))
        changed.append(1 - len(first & second) / max(len(first | second), 1))
    return float(np.mean(changed))
