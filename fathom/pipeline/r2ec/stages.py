"""R²ec, stage by stage (arXiv:2505.16994): data, language model, matching without a word, words, matching behind words, RecPO.

Read `STAGES` at the foot first. The paper begins with a language model of billions of weights, which can reason; a small model has
nothing to say until it is taught. So it first learns to match people and items without reasoning, and to name what followed
(`match-fit`), on histories without their held-out ends; then to match behind the names that it gives itself, right or wrong
(`r2ec-warm`), about the held-out ends of half of the people: about what it has learned from it would be right too often, and names
would be believed too much. Only then do words and match learn from ranks (`r2ec-recpo`), asked about the held-out ends of the other
half. `r2ec-no-reason` and `r2ec` are continued on whole histories for the test.
"""

from collections.abc import Sequence

import numpy as np
from rich.console import Console

from fathom.agents.play import row_seed
from fathom.items.text import item_texts
from fathom.metrics import ndcg, ranks_of
from fathom.pipeline.groundwork import ASKED, DATASET, SASREC, first_policy, read_histories
from fathom.pipeline.judge import judge_all
from fathom.pipeline.r2ec.recipe import LessonSettings
from fathom.pipeline.r2ec.table import R2ecTable
from fathom.pipeline.r2ec.workshop import R2ecWorkshop
from fathom.pipeline.stages import Stage
from fathom.pipeline.workshop import some_people, whole_histories
from fathom.reasoners.dual_head import DualHead
from fathom.reasoners.prompts import PERHAPS, READ_TOKEN, READOUT, THOUGHTS, item_prompts
from fathom.reasoners.reasoning import reason
from fathom.reasoners.recommender import R2ec
from fathom.records import Case, Reasoning
from fathom.training.contrastive import ContrastiveSettings, Excerpt, match
from fathom.training.lessons import lessons_behind
from fathom.training.processes import Shared, in_shares, processes
from fathom.training.recpo import recpo
from fathom.training.run import progress


def fit_first_language_model(work: R2ecWorkshop) -> None:
    """The built-in model from random weights, or one from outside: catalogue text and histories without their held-out ends."""
    recipe = work.recipe.language
    policy = first_policy(work, recipe, lambda: _corpus(work), (THOUGHTS, PERHAPS, READOUT, READ_TOKEN), vectors=lambda: work.vectors)
    read_histories(work, policy, recipe, work.histories(work.fit_part), stage="lm-fit")


def match_without_reasoning(work: R2ecWorkshop) -> None:
    """Every event is matched with what came before it, and some are named, held-out ends left out."""
    head = DualHead(work.policy("lm-fit"), work.catalog, work.recipe.reasoner)
    if shortened := head.shortened_items:
        most = work.recipe.reasoner.item_tokens
        Console().print(
            f"  {shortened:,} of {head.n_items:,} items' prompts lose their end: reasoner.item_tokens is {most}", highlight=False
        )
    _match(work, head, "match-fit", whole_histories(work.fit_part), work.recipe.match, budget=0)


def continue_without_reasoning(work: R2ecWorkshop) -> None:
    """The same on whole histories: the row `r2ec-no-reason`."""
    _match(work, work.head("match-fit"), "r2ec-no-reason", whole_histories(work.split.train), work.recipe.match_refit, budget=0)


def learn_to_reason(work: R2ecWorkshop) -> None:
    """To match behind what it says about events that it has not learned from; judged by that read-out alone."""
    head, recipe = work.head("match-fit", beside=False), work.recipe
    lessons = own_lessons(work, head, work.told_cases, recipe.warm)
    _match(work, head, "r2ec-warm", work.some_histories(work.fit_part, recipe.warm.histories), recipe.warm, lessons=lessons)


def learn_from_ranks(work: R2ecWorkshop) -> None:
    """RecPO."""
    head = work.head("r2ec-warm")
    recpo(
        head,
        work.questions,
        work.catalog,
        settings=work.recipe.recpo,
        run=work.run,
        stage="r2ec-recpo",
        validate=lambda: figures(work, head),
    )
    work.keep(head, "r2ec-recpo")


def continue_reasoning(work: R2ecWorkshop) -> None:
    """The model that serves: whole histories, and its own reasonings about held-out events that it has not been told."""
    head, recipe = work.head("r2ec-recpo"), work.recipe
    lessons = own_lessons(work, head, work.asked_cases, recipe.refit)
    _match(work, head, "r2ec", work.some_histories(work.split.train, recipe.refit.histories), recipe.refit, lessons=lessons)


def judge_reasoners(work: R2ecWorkshop) -> None:
    """Ask every model the same test cases, print the table, write the page."""
    judge_all(R2ecTable(work), command=work.command)


def own_lessons(work: R2ecWorkshop, head: DualHead, cases: Sequence[Case], settings: LessonSettings) -> list[Excerpt]:
    """The cases with what the model says about each, every draw of it, and their targets behind it."""
    seed = work.recipe.seed
    cases = some_people(cases, settings.most, seed=seed)
    asked = [(case, row_seed(seed, draw * len(cases) + place)) for draw in range(settings.draws) for place, case in enumerate(cases)]
    with progress("reasoning", len(asked)) as advance:

        def share(part: Sequence[tuple[Case, int]]) -> list[Reasoning]:
            told, seeds = [case for case, _ in part], [seed for _, seed in part]
            return reason(head, told, work.catalog, temperature=1.0, seeds=seeds, progress=lambda done: advance(done * together))

        together = processes().num_processes
        with head.policy.decoder.heated(settings.temperature):
            reasonings = in_shares(share, asked)
    return lessons_behind(head, reasonings, work.catalog, own_weight=settings.own_weight, rng=np.random.default_rng(seed), cut=settings.cut)


def figures(work: R2ecWorkshop, head: DualHead, *, budget: int | None = None) -> dict[str, float]:
    """How the model does on the validation cases; its table must be fresh."""
    cases = work.valid_cases
    ranking = Shared(R2ec(head, work.catalog, budget=budget)).recommend(cases, 10)
    targets = np.array([case.target for case in cases], dtype=np.int64)
    return {"ndcg@10": float(ndcg(ranks_of(ranking, targets), 10).mean())}


def _match(
    work: R2ecWorkshop,
    head: DualHead,
    stage: str,
    histories: Sequence[Case],
    settings: ContrastiveSettings,
    *,
    lessons: Sequence[Excerpt] = (),
    budget: int | None = None,
) -> None:
    """Fit the head and keep it; validated behind its words, or after at most `budget` of them."""
    match(
        head,
        histories,
        work.catalog,
        settings=settings,
        run=work.run,
        stage=stage,
        lessons=lessons,
        validate=lambda: figures(work, head, budget=budget),
    )
    work.keep(head, stage)


def _corpus(work: R2ecWorkshop) -> list[str]:
    """What the tokenizer is trained on: titles as often as they were taken, items' prompts and texts, reasonings."""
    recipe = work.recipe
    titles = [event for history in work.histories(work.fit_part) for event in history]
    return [*titles, *item_prompts(work.catalog, recipe.reasoner), *item_texts(work.catalog)]


READ_LATER = (
    "history_length",
    "reasoning_tokens",
    "titles",
    "prompt_tokens",
    "item_tokens",
    "similarity",
    "temperature",
    "readout",
    "beside",
    "items",
)
"""Settings of the reasoner about which its language model knows nothing yet."""

STAGES = (
    DATASET,
    SASREC,
    Stage(
        "lm-fit",
        "the language model reads the catalogue and histories",
        ("dataset",),
        (*ASKED, "encoder", "language", "reasoner"),
        fit_first_language_model,
        unread=tuple(f"reasoner.{name}" for name in READ_LATER),
    ),
    Stage(
        "match-fit",
        "matches people and items without a word, and names titles",
        ("lm-fit",),
        ("match", "reasoner"),
        match_without_reasoning,
        unread=("reasoner.beside",),
    ),
    Stage(
        "r2ec-no-reason",
        "the same, continued on whole histories",
        ("match-fit",),
        ("match_refit",),
        continue_without_reasoning,
    ),
    Stage("r2ec-warm", "learns to match behind what it says", ("match-fit",), ("warm",), learn_to_reason),
    Stage(
        "r2ec-recpo",
        "words and match learn from ranks",
        ("r2ec-warm",),
        ("recpo", "questions", "reasoner.beside"),
        learn_from_ranks,
    ),
    Stage("r2ec", "the same, continued on whole histories: it serves", ("r2ec-recpo",), ("refit",), continue_reasoning),
    Stage(
        "results",
        "every model is asked the same test cases",
        ("sasrec", "r2ec-no-reason", "r2ec"),
        ("test_users", "budgets"),
        judge_reasoners,
        leaves=("ranks", "episodes", "guests"),
    ),
)
"""R²ec in order."""
