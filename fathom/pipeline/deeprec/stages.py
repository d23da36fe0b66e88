"""The main job, stage by stage (DeepRec, arXiv:2505.16810): data, recommenders, language model, warm start, two stages of RL.

Read `STAGES` at the foot first: it is the table of contents. Who may know what is the heart of it: `retriever-fit` and `lm-fit`
learn from the training histories without their held-out ends; traces and reinforcement learning ask for those ends, so the agent
meets its tools as it will meet them in service. `retriever`, `lm` and, last of all, `agent` are then continued on whole training
histories for the test.
"""

from collections.abc import Sequence
from itertools import islice

from fathom.agents.protocol import MARKERS
from fathom.items.embed import cache_folder
from fathom.items.text import item_texts
from fathom.models.popularity import Popularity
from fathom.pipeline.deeprec.agent import continue_agent, learn_to_ask, learn_to_recommend, warm_start
from fathom.pipeline.deeprec.table import DeepRecTable
from fathom.pipeline.deeprec.workshop import DeepRecWorkshop
from fathom.pipeline.groundwork import ASKED, DATASET, SASREC, first_policy
from fathom.pipeline.judge import judge_all
from fathom.pipeline.stages import Stage
from fathom.records import Call, Interactions, cases_of
from fathom.training.pretrain import pretrain
from fathom.training.recitation import Recitations
from fathom.training.retrieval import train_retriever
from fathom.training.traces import TraceSettings, build_traces

SAMPLED = 1000
"""Conversations from which the tokenizer learns the protocol's words."""


def fit_episode_retriever(work: DeepRecWorkshop) -> None:
    """The retriever that never sees the held-out ends."""
    _fit_retriever(work, work.fit_part, "retriever-fit")


def fit_serving_retriever(work: DeepRecWorkshop) -> None:
    """The same retriever, continued on whole training histories."""
    _fit_retriever(work, work.split.train, "retriever")


def fit_first_language_model(work: DeepRecWorkshop) -> None:
    """The built-in model from random weights, or one from outside: catalogue text and histories without their held-out ends."""
    recipe = work.recipe.language
    policy = first_policy(work, recipe, lambda: _corpus(work), MARKERS, vectors=lambda: work.vectors)
    pretrain(
        policy,
        work.histories(work.fit_part),
        texts=item_texts(work.catalog),
        text_share=recipe.texts,
        recitations=Recitations(
            policy,
            work.catalog,
            settings=recipe.recitations,
            protocol=work.recipe.protocol.taught(),
            row=min(recipe.windows.row, policy.context),
        ),
        windows=recipe.windows,
        settings=recipe.pretrain,
        run=work.run,
        stage="lm-fit",
    )
    work.keep(policy, "lm-fit")


def fit_language_model(work: DeepRecWorkshop) -> None:
    """The same language model, continued on whole training histories: the row `lm`."""
    policy = work.policy("lm-fit")
    recipe = work.recipe.language
    pretrain(policy, work.histories(work.split.train), windows=recipe.windows, settings=recipe.refit, run=work.run, stage="lm")
    work.keep(policy, "lm")


def judge_agents(work: DeepRecWorkshop) -> None:
    """Ask every model the same test cases, print the table, write the page."""
    judge_all(DeepRecTable(work), command=work.command)


def _fit_retriever(work: DeepRecWorkshop, interactions: Interactions, stage: str) -> None:
    recipe = work.recipe
    refit = stage == "retriever"
    retriever = train_retriever(
        interactions,
        work.catalog,
        work.valid_cases,
        encoder=work.encoder,
        vectors=work.vectors,
        preferences=recipe.preferences,
        settings=recipe.retriever.model_copy(update={"fit": recipe.retriever_refit}) if refit else recipe.retriever,
        run=work.run,
        stage=stage,
        start=work.episode_retriever if refit else None,
        cache=cache_folder(),
    )
    work.keep(retriever, stage)


class _Words:
    """Stands in for a policy while there is no tokenizer yet: one token a character."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Character codes."""
        return tuple(map(ord, text))


class _BestSellers:
    """A retriever that always shows what is popular: enough to see what conversations look like."""

    def __init__(self, popularity: Popularity) -> None:
        self._popularity = popularity

    def retrieve(self, calls: Sequence[Call]) -> list[tuple[int, ...]]:
        """The most popular items that are not excluded."""
        order = self._popularity.recommend(cases_of([()]), self._popularity.n_items).items[0].tolist()
        return [tuple(islice((item for item in order if item not in call.exclude), call.k)) for call in calls]


def _corpus(work: DeepRecWorkshop) -> list[str]:
    """What the tokenizer is trained on: titles as often as they were taken, catalogue text, and conversations with their own words."""
    titles = [event for history in work.histories(work.fit_part) for event in history]
    traces = build_traces(
        _Words(),
        work.trace_cases[:SAMPLED],
        work.catalog,
        retrieve=_BestSellers(Popularity.of(work.fit_part, work.catalog.n_items)),
        settings=TraceSettings(missed=1.0),
        preferences=work.recipe.preferences,
        protocol=work.recipe.protocol.taught().model_copy(update={"trajectory_tokens": 10**6, "prompt_tokens": 10**5}),
        seed=work.recipe.seed,
    )
    return [*titles, *item_texts(work.catalog), *(trace.episode.text for trace in traces)]


STAGES = (
    DATASET,
    SASREC,
    Stage(
        "retriever-fit",
        "the retriever of the episodes, blind to their targets",
        ("dataset",),
        (*ASKED, "encoder", "retriever", "preferences"),
        fit_episode_retriever,
    ),
    Stage(
        "retriever",
        "the same, continued on whole histories: it serves",
        ("retriever-fit",),
        ("retriever_refit",),
        fit_serving_retriever,
    ),
    Stage(
        "lm-fit",
        "the language model reads the catalogue and histories",
        ("dataset",),
        (*ASKED, "encoder", "language", "protocol", "preferences", "episodes"),
        fit_first_language_model,
        unread=("protocol.listed", "protocol.prompt_tokens", "protocol.segment_tokens", "protocol.trajectory_tokens"),
    ),
    Stage("lm", "the same, continued on whole histories", ("lm-fit",), (), fit_language_model),
    Stage(
        "agent-warm",
        "imitates conversations that know how they ended",
        ("lm-fit", "retriever-fit", "retriever"),
        ("protocol", "traces", "imitate"),
        warm_start,
    ),
    Stage(
        "agent-stage1",
        "learns to ask: process rewards",
        ("agent-warm",),
        ("rewards", "stage1", "retrieval"),
        learn_to_ask,
    ),
    Stage(
        "agent-stage2",
        "learns to recommend: outcome rewards",
        ("agent-stage1",),
        ("rewards", "stage2", "retrieval"),
        learn_to_recommend,
    ),
    Stage("agent", "the same, continued on whole histories: it serves", ("agent-stage2",), ("agent_refit",), continue_agent),
    Stage(
        "results",
        "every model is asked the same test cases",
        ("sasrec", "retriever", "lm", "agent"),
        ("test_users", "endpoint"),
        judge_agents,
        leaves=("ranks", "episodes", "guests"),
    ),
)
"""The main job in order."""
