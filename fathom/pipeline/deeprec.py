"""The main job, stage by stage (DeepRec, arXiv:2505.16810): data, recommenders, language model, warm start, two stages of RL.

Read `STAGES` at the foot first: it is the table of contents. Who may know what is the heart of it: `retriever-fit` and `lm-fit`
learn from the training histories without their held-out ends; traces and reinforcement learning ask for those ends, so the agent
meets its tools as it will meet them in service. `retriever`, `lm` and, last of all, `agent` are then continued on whole training
histories for the test.
"""

import shutil
from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
from rich.console import Console

from fathom.agents.play import Finish, play
from fathom.agents.protocol import MARKERS
from fathom.agents.recommender import ranked
from fathom.agents.remote_retrieval import RemoteRetriever
from fathom.agents.rewards import Judge, RememberedTexts, Similarity, ndcg_of_target, stage1, stage2, target_retrieved
from fathom.data.filters import k_core, rating_at_least
from fathom.data.sources import read
from fathom.data.world import build_world
from fathom.items.text import item_texts
from fathom.language.builtin import build
from fathom.language.policy import LocalPolicy, Precision
from fathom.language.tokenizer import train_tokenizer
from fathom.metrics import ndcg, ranks_of
from fathom.pipeline.judge import FINISHES, judge, mixed, report, show, summarise
from fathom.pipeline.stages import Stage
from fathom.pipeline.workshop import Workshop, cache_folder, data_folder
from fathom.recommenders.popular import Popularity
from fathom.records import Call, Case, Episode, Interactions, cases_of
from fathom.training.imitate import imitate
from fathom.training.pretrain import pretrain
from fathom.training.processes import in_shares, processes
from fathom.training.recitation import Recitations
from fathom.training.refit import first_ends, own_traces
from fathom.training.reinforce import reinforce
from fathom.training.reinforce_settings import ReinforceSettings
from fathom.training.retrieval import train_retriever
from fathom.training.sequential import train_sasrec
from fathom.training.traces import Trace, TraceSettings, build_traces, chosen

SAMPLED = 1000
"""Conversations from which the tokenizer learns the protocol's words."""

TAUGHT = 30
"""Titles of each list that the teacher of the answers is mixed of: a few more than an answer and its target need."""

WATCHED = 200
"""Validation conversations after each epoch of the warm start: enough to tell epochs apart, few enough to be quick."""


def make_dataset(work: Workshop) -> None:
    """The built-in world, or the source after its filters."""
    world, source = work.recipe.world, work.recipe.source
    if world is not None:
        built = build_world(world)
        built.oracle.save(work.folder("oracle"))
        built.dataset.save(work.folder("dataset"))
    elif source is not None:
        dataset = read(data_folder(source.name))
        if source.least_rating:
            dataset = rating_at_least(dataset, source.least_rating)
        if source.core:
            dataset = k_core(dataset, source.core, source.core)
        dataset.save(work.folder("dataset"))
    Console().print(f"  {work.dataset.summary()}", highlight=False)


def fit_sasrec(work: Workshop) -> None:
    """The sequential recommender beside which everything stands, on whole training histories."""
    model = train_sasrec(
        work.split.train, work.valid_cases, n_items=work.catalog.n_items, settings=work.recipe.sasrec, run=work.run, stage="sasrec"
    )
    work.keep(model, "sasrec")


def fit_episode_retriever(work: Workshop) -> None:
    """The retriever that never sees the held-out ends."""
    _fit_retriever(work, work.fit_part, "retriever-fit")


def fit_serving_retriever(work: Workshop) -> None:
    """The same retriever, continued on whole training histories."""
    _fit_retriever(work, work.split.train, "retriever")


def fit_first_language_model(work: Workshop) -> None:
    """The built-in model from random weights, or one from outside: catalogue text and histories without their held-out ends."""
    recipe = work.recipe.language
    if recipe.model == "builtin":
        tokenizer = train_tokenizer(_corpus(work), recipe.builtin.vocabulary, markers=MARKERS)
        seed, titles, vectors = work.recipe.seed, work.catalog.titles, work.vectors[1:]
        policy = build(recipe.builtin, tokenizer, seed=seed, titles=titles, vectors=vectors, device=work.device)
    else:  # on an accelerator, large models from outside compute in bfloat16, when they talk and when they learn
        precision: Precision = "bfloat16" if work.device.type == "cuda" else "float32"
        policy = LocalPolicy.load(recipe.model, device=work.device, precision=precision, lora=recipe.lora or None)
    pretrain(
        policy,
        work.histories(work.fit_part),
        texts=item_texts(work.catalog),
        text_share=recipe.texts,
        recitations=Recitations(
            policy, work.catalog, settings=recipe.recitations, protocol=work.recipe.protocol, row=min(recipe.windows.row, policy.context)
        ),
        windows=recipe.windows,
        settings=recipe.pretrain,
        run=work.run,
        stage="lm-fit",
    )
    work.keep(policy, "lm-fit")


def fit_language_model(work: Workshop) -> None:
    """The same language model, continued on whole training histories: the row `lm`."""
    policy = work.policy("lm-fit")
    recipe = work.recipe.language
    pretrain(policy, work.histories(work.split.train), windows=recipe.windows, settings=recipe.refit, run=work.run, stage="lm")
    work.keep(policy, "lm")


def warm_start(work: Workshop) -> None:
    """Imitate traces that know how they ended; histories are mixed in, so that they are not forgotten."""
    recipe = work.recipe
    policy = work.policy("lm-fit")
    imitate(
        policy,
        traced(work, policy),
        work.histories(work.fit_part),
        settings=recipe.imitate,
        windows=recipe.language.windows,
        run=work.run,
        stage="agent-warm",
        validate=lambda: agent_figures(work, policy, work.valid_cases[:WATCHED], finish="both"),
    )
    work.keep(policy, "agent-warm")


def traced(work: Workshop, policy: LocalPolicy) -> list[Trace]:
    """Traces of held-out training events, played with the retriever that never saw them."""
    recipe = work.recipe
    teacher = None
    if recipe.traces.teacher == "mix":
        seen = max(recipe.protocol.history_length, recipe.protocol.reminded)  # it shall teach what the agent can see
        language = work.language_recommender("lm-fit", seen)
        teacher = mixed(work.episode_retriever, language, work.valid_cases, depth=TAUGHT)

    def share(numbers: Sequence[int]) -> list[Trace]:
        return build_traces(
            policy,
            work.trace_cases,
            work.catalog,
            retrieve=work.episode_retriever,
            settings=recipe.traces,
            preferences=recipe.preferences,
            protocol=recipe.protocol,
            seed=recipe.seed,
            longest=policy.context,
            teacher=teacher,
            numbers=numbers,
        )

    return in_shares(share, chosen(len(work.trace_cases), recipe.traces, seed=recipe.seed))


def learn_to_ask(work: Workshop) -> None:
    """Stage 1: process rewards alone."""
    recipe = work.recipe
    _reinforce(work, "agent-warm", "agent-stage1", recipe.stage1, stage1(recipe.rewards, RememberedTexts(work.encoder.encode)), half=0)


def learn_to_recommend(work: Workshop) -> None:
    """Stage 2: format and outcome rewards."""
    recipe = work.recipe
    similarity = Similarity(work.vectors, work.episode_retriever.item_vectors)
    _reinforce(work, "agent-stage1", "agent-stage2", recipe.stage2, stage2(recipe.rewards, similarity), half=1)


def continue_agent(work: Workshop) -> None:
    """The agent that serves: its own conversations, what really followed, and whole training histories."""
    policy, recipe = work.policy("agent-stage2"), work.recipe

    def share(numbers: Sequence[int]) -> list[Trace]:
        return own_traces(
            policy,
            work.episode_retriever,
            work.episode_cases,
            work.catalog,
            protocol=recipe.protocol,
            titles=work.titles,
            numbers=numbers,
            own_weight=recipe.agent_refit.own_weight,
            longest=policy.context,
        )

    numbers = first_ends(work.episode_cases, recipe.agent_refit.people, seed=recipe.seed)
    traces = in_shares(share, numbers)
    if traces:
        imitate(
            policy,
            traces,
            work.histories(work.split.train),
            settings=recipe.agent_refit,
            windows=recipe.language.windows,
            run=work.run,
            stage="agent",
            validate=lambda: agent_figures(work, policy, work.valid_cases[:WATCHED], finish="both"),
        )
    elif processes().is_main_process:
        Console().print(f"  [yellow]none of {len(numbers):,} conversations is well formed[/]: the agent stays as stage 2 left it")
    work.keep(policy, "agent")


def judge_all(work: Workshop) -> None:
    """Ask every model the same test cases, print the table, write the page."""
    judge(work)
    if not processes().is_main_process:
        return
    results = summarise(work, command=work.command)
    console = Console()
    show(results, console)
    console.print(f"page: {report(work, results)}")


def agent_figures(
    work: Workshop, policy: LocalPolicy, cases: Sequence[Case], *, finish: Finish = "written", rewards: Judge | None = None
) -> dict[str, float]:
    """How the agent does on validation cases, greedily, with the retriever that serves; misses are strict.

    'ndcg@10' is the better finish's, 'reward' the mean total of `rewards`, if there are any.
    """

    def share(part: Sequence[Case]) -> list[Episode]:
        return play(policy, work.retriever, part, work.catalog, work.recipe.protocol, finish=finish, titles=work.titles)

    episodes = in_shares(share, cases)
    targets = np.array([case.target for case in cases], dtype=np.int64)
    finishes = {
        f"ndcg@10_{name}": float(ndcg(ranks_of(ranked(episodes, 10, finish=name, fallback=None), targets), 10).mean())
        for name in FINISHES.values()
        if finish in (name, "both")
    }
    return {
        **({} if rewards is None else {"reward": sum(rewards(episode)["total"] for episode in episodes) / len(episodes)}),
        "ndcg@10": max(finishes.values()),
        **(finishes if len(finishes) > 1 else {}),
        "format_valid": sum(episode.well_formed for episode in episodes) / len(episodes),
        "turns": sum(len(episode.turns) for episode in episodes) / len(episodes),
        "recall_ceiling": sum(episode.case.target in episode.retrieved for episode in episodes) / len(episodes),
    }


def _fit_retriever(work: Workshop, interactions: Interactions, stage: str) -> None:
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


def _corpus(work: Workshop) -> list[str]:
    """What the tokenizer is trained on: titles as often as they were taken, catalogue text, and conversations with their own words."""
    titles = [event for history in work.histories(work.fit_part) for event in history]
    traces = build_traces(
        _Words(),
        work.trace_cases[:SAMPLED],
        work.catalog,
        retrieve=_BestSellers(Popularity(work.fit_part, work.catalog.n_items)),
        settings=TraceSettings(missed=1.0),
        preferences=work.recipe.preferences,
        protocol=work.recipe.protocol.model_copy(update={"trajectory_tokens": 10**6, "prompt_tokens": 10**5}),
        seed=work.recipe.seed,
    )
    return [*titles, *item_texts(work.catalog), *(trace.episode.text for trace in traces)]


def _reinforce(work: Workshop, before: str, after: str, settings: ReinforceSettings, rewards: Judge, *, half: int) -> None:
    policy = work.policy(before)
    retrieve = RemoteRetriever(work.recipe.retrieval, work.catalog) if work.recipe.retrieval else work.episode_retriever

    def heldout(episode: Episode) -> dict[str, float]:
        return {"ndcg": ndcg_of_target(episode), "target_retrieved": target_retrieved(episode)}

    reinforce(
        policy,
        retrieve,
        work.questions[half],
        work.catalog,
        protocol=work.recipe.protocol,
        rewards=rewards,
        heldout=heldout,
        settings=settings,
        run=work.run,
        stage=after,
        validate=lambda: agent_figures(work, policy, work.valid_cases, rewards=rewards),
    )
    work.keep(policy, after)


def forget(*names: str) -> Callable[[Workshop], None]:
    """How a stage begins: its folders, checkpoint and log lines are removed, so that nothing of other settings remains."""

    def begin(work: Workshop) -> None:
        for name in names:
            shutil.rmtree(work.folder(name), ignore_errors=True)
            work.run.checkpoint(name).clear()
            work.run.forget_after(name, -1)

    return begin


DATA = ("world", "source")
ASKED = (*DATA, "split", "valid_users", "seed", "hold_out")
STAGES = (
    Stage("dataset", "interactions and catalogue", (), DATA, make_dataset, forget("dataset", "oracle"), alone=True),
    Stage("sasrec", "the sequential baseline", ("dataset",), (*ASKED, "sasrec"), fit_sasrec, forget("sasrec")),
    Stage(
        "retriever-fit",
        "the retriever of the episodes, blind to their targets",
        ("dataset",),
        (*ASKED, "encoder", "retriever", "preferences"),
        fit_episode_retriever,
        forget("retriever-fit"),
    ),
    Stage(
        "retriever",
        "the same, continued on whole histories: it serves",
        ("retriever-fit",),
        ("retriever_refit",),
        fit_serving_retriever,
        forget("retriever"),
    ),
    Stage(
        "lm-fit",
        "the language model reads the catalogue and histories",
        ("dataset",),
        (*ASKED, "encoder", "language", "protocol", "preferences", "episodes"),
        fit_first_language_model,
        forget("lm-fit"),
    ),
    Stage("lm", "the same, continued on whole histories", ("lm-fit",), (), fit_language_model, forget("lm")),
    Stage(
        "agent-warm",
        "imitates conversations that know how they ended",
        ("lm-fit", "retriever-fit", "retriever"),
        ("traces", "imitate"),
        warm_start,
        forget("agent-warm"),
    ),
    Stage(
        "agent-stage1",
        "learns to ask: process rewards",
        ("agent-warm",),
        ("rewards", "stage1", "retrieval"),
        learn_to_ask,
        forget("agent-stage1"),
    ),
    Stage(
        "agent-stage2",
        "learns to recommend: outcome rewards",
        ("agent-stage1",),
        ("rewards", "stage2", "retrieval"),
        learn_to_recommend,
        forget("agent-stage2"),
    ),
    Stage(
        "agent", "the same, continued on whole histories: it serves", ("agent-stage2",), ("agent_refit",), continue_agent, forget("agent")
    ),
    Stage(
        "results",
        "every model is asked the same test cases",
        ("sasrec", "retriever", "lm", "agent"),
        ("test_users", "endpoint"),
        judge_all,
        forget("ranks", "episodes"),
    ),
)
"""The main job in order."""
