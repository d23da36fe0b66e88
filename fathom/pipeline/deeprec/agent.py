"""The stages of the agent's life: it imitates, learns to ask, learns to recommend, and is continued before it serves."""

from collections.abc import Sequence

import numpy as np
from rich.console import Console

from fathom.agents.play import Finish, play
from fathom.agents.recommender import ranked
from fathom.agents.remote_retrieval import RemoteRetriever
from fathom.agents.rewards import Judge, RememberedTexts, Similarity, ndcg_of_target, stage1, stage2, target_retrieved
from fathom.contracts import Tool
from fathom.language.policy import LocalPolicy
from fathom.metrics import ndcg, ranks_of
from fathom.pipeline.deeprec.table import FINISHES, mixed
from fathom.pipeline.deeprec.workshop import DeepRecWorkshop
from fathom.records import Case, Episode
from fathom.training.imitate import imitate
from fathom.training.processes import in_shares, processes
from fathom.training.refit import first_ends, own_traces
from fathom.training.reinforce_settings import ReinforceSettings
from fathom.training.traces import Trace, build_traces, chosen

TAUGHT = 30
"""Titles of each list that the teacher of the answers is mixed of: a few more than an answer and its target need."""

WATCHED = 200
"""Validation conversations after each epoch of the warm start: enough to tell epochs apart, few enough to be quick."""

FORMED = 0.95
"""Share of well-formed validation conversations below which a warm start is called too short."""


def warm_start(work: DeepRecWorkshop) -> None:
    """Imitate traces that know how they ended; histories are mixed in, so that they are not forgotten."""
    recipe = work.recipe
    policy = work.policy("lm-fit")
    report = imitate(
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
    if processes().is_main_process and (hint := too_short(report.best["format_valid"])):
        Console().print(f"  [yellow]{hint}[/]")


def too_short(formed: float) -> str:
    """What to say of a warm start after which this share of the validation conversations is well formed; '' where that is enough."""
    if formed >= FORMED:
        return ""
    return (
        f"only {formed:.1%} of its conversations are well formed, and the others earn nothing: raise imitate.fit.learning_rate, "
        "imitate.fit.epochs or traces.most, or traces.as_played where protocol.items_taught differs from items_per_call"
    )


def traced(work: DeepRecWorkshop, policy: LocalPolicy) -> list[Trace]:
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


def learn_to_ask(work: DeepRecWorkshop) -> None:
    """Stage 1: process rewards alone."""
    recipe = work.recipe
    _reinforce(work, "agent-warm", "agent-stage1", recipe.stage1, stage1(recipe.rewards, RememberedTexts(work.encoder.encode)), half=0)


def learn_to_recommend(work: DeepRecWorkshop) -> None:
    """Stage 2: format and outcome rewards."""
    recipe = work.recipe
    similarity = Similarity(work.vectors, work.episode_retriever.item_vectors)
    _reinforce(work, "agent-stage1", "agent-stage2", recipe.stage2, stage2(recipe.rewards, similarity), half=1)


def continue_agent(work: DeepRecWorkshop) -> None:
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


def agent_figures(
    work: DeepRecWorkshop, policy: LocalPolicy, cases: Sequence[Case], *, finish: Finish = "written", rewards: Judge | None = None
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


def _reinforce(work: DeepRecWorkshop, before: str, after: str, settings: ReinforceSettings, rewards: Judge, *, half: int) -> None:
    from fathom.training.reinforce import reinforce  # with it come the packages that train: whoever only serves need not have them

    policy = work.policy(before)
    retrieve: Tool = work.episode_retriever
    if work.recipe.retrieval:
        retrieve = service = RemoteRetriever(work.recipe.retrieval, work.catalog)
        service.check()

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
        validate=lambda: agent_figures(work, policy, work.valid_cases, finish=settings.finish, rewards=rewards),
    )
    work.keep(policy, after)
