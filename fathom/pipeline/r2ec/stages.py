"""R²ec, stage by stage (arXiv:2505.16994): data, language model, matching without a word, words, matching behind words, RecPO.

Read `STAGES` at the foot first. The paper begins with a language model of billions of weights, which can reason; a small model has
nothing to say until it is taught. So it first learns to match people and items without reasoning (`match-fit`), on histories without
their held-out ends; then to name what it ranks first, right or wrong, and to match behind these names (`r2ec-warm`), about the
held-out ends of half of the people: about what it has learned from it would be right too often, and names would be believed too much.
Only then do words and match learn from ranks (`r2ec-recpo`), asked about the held-out ends of the other half. `r2ec-no-reason` and
`r2ec` are continued on whole histories for the test.
"""

from collections.abc import Sequence

import numpy as np

from fathom.agents.play import row_seed
from fathom.items.text import item_texts
from fathom.metrics import ndcg, ranks_of
from fathom.pipeline.groundwork import ASKED, DATASET, SASREC, first_policy
from fathom.pipeline.judge import judge_all
from fathom.pipeline.r2ec.recipe import OwnWordsSettings
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
from fathom.training.lessons import lessons_behind, lessons_of
from fathom.training.pretrain import pretrain
from fathom.training.processes import Shared, in_shares
from fathom.training.recpo import recpo
from fathom.training.thoughts import LIKE, thoughts


def fit_first_language_model(work: R2ecWorkshop) -> None:
    """The built-in model from random weights, or one from outside: catalogue text and histories without their held-out ends."""
    recipe = work.recipe.language
    policy = first_policy(work, lambda: _corpus(work), (THOUGHTS, PERHAPS, LIKE, READOUT, READ_TOKEN))
    pretrain(
        policy,
        work.histories(work.fit_part),
        texts=item_texts(work.catalog),
        text_share=recipe.texts,
        windows=recipe.windows,
        settings=recipe.pretrain,
        run=work.run,
        stage="lm-fit",
    )
    work.keep(policy, "lm-fit")


def match_without_reasoning(work: R2ecWorkshop) -> None:
    """Every event is matched with what came before it, held-out ends left out."""
    head = DualHead(work.policy("lm-fit"), work.catalog, work.recipe.reasoner)
    _match(work, head, "match-fit", whole_histories(work.fit_part), work.recipe.match, budget=0)


def continue_without_reasoning(work: R2ecWorkshop) -> None:
    """The same on whole histories: the row `r2ec-no-reason`."""
    _match(work, work.head("match-fit"), "r2ec-no-reason", whole_histories(work.split.train), work.recipe.match_refit, budget=0)


def learn_to_reason(work: R2ecWorkshop) -> None:
    """To name what it ranks first without a word, about events it has not learned from, and to match behind the names."""
    head, recipe = work.head("match-fit"), work.recipe
    cases = some_people(work.told_cases, recipe.warm.most, seed=recipe.seed)
    rng, lessons = np.random.default_rng(recipe.seed), []
    for draw in range(recipe.thoughts.draws):
        said = thoughts(head, cases, work.catalog, seed=row_seed(recipe.seed, draw), settings=recipe.thoughts)
        lessons += lessons_of(head, cases, said, work.catalog, cut=recipe.warm.cut, rng=rng)
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
    cases = some_people(work.asked_cases, recipe.refit.most, seed=recipe.seed)
    lessons = own_lessons(work, head, cases, recipe.refit)
    _match(work, head, "r2ec", work.some_histories(work.split.train, recipe.refit.histories), recipe.refit, lessons=lessons)


def judge_reasoners(work: R2ecWorkshop) -> None:
    """Ask every model the same test cases, print the table, write the page."""
    judge_all(R2ecTable(work), command=work.command)


def own_lessons(work: R2ecWorkshop, head: DualHead, cases: Sequence[Case], settings: OwnWordsSettings) -> list[Excerpt]:
    """The cases with what the model says about them, and their targets behind it."""
    seeds = [row_seed(work.recipe.seed, place) for place in range(len(cases))]

    def share(part: Sequence[tuple[Case, int]]) -> list[Reasoning]:
        return reason(head, [case for case, _ in part], work.catalog, temperature=1.0, seeds=[seed for _, seed in part])

    with head.policy.decoder.heated(settings.temperature):
        reasonings = in_shares(share, list(zip(cases, seeds, strict=True)))
    rng = np.random.default_rng(work.recipe.seed)
    return lessons_behind(head, reasonings, work.catalog, own_weight=settings.own_weight, rng=rng, cut=settings.cut)


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
        "matches people and items without a word",
        ("lm-fit",),
        ("match", "reasoner"),
        match_without_reasoning,
    ),
    Stage(
        "r2ec-no-reason",
        "the same, continued on whole histories",
        ("match-fit",),
        ("match_refit",),
        continue_without_reasoning,
    ),
    Stage("r2ec-warm", "learns to say what it ranks first, and to match behind it", ("match-fit",), ("thoughts", "warm"), learn_to_reason),
    Stage(
        "r2ec-recpo",
        "words and match learn from ranks",
        ("r2ec-warm",),
        ("recpo", "questions"),
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
