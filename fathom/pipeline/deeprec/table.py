"""The main job's table: agents are heard in whole conversations, each judged by both of its finishes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

from rich.console import RenderableType

from fathom.agents.play import play
from fathom.agents.recommender import AgentRecommender, Played
from fathom.contracts import Recommender
from fathom.evaluation.agent import Finish, answer_ranks
from fathom.evaluation.evaluate import Evaluation, evaluate
from fathom.evaluation.results import Difference, Row
from fathom.evaluation.rows import STRICT, make_comparisons, make_row
from fathom.evaluation.said import load_said, save_said
from fathom.pipeline.deeprec.endpoint import ENDPOINT, endpoint_comparisons, endpoint_figures, judge_endpoint
from fathom.pipeline.deeprec.workshop import AGENTS, DeepRecWorkshop
from fathom.pipeline.table import BLIND_ORACLE, LanguageTable, Speaker, part_comparisons, part_figures, places_of
from fathom.recommenders.mix import Mix, choose_weight
from fathom.records import Case, Episode
from fathom.reports.episode import episode_view, token_view
from fathom.reports.page import PageData
from fathom.reports.readings import Reading, of_episode
from fathom.training.processes import Shared, in_shares, processes
from fathom.training.run import progress

SCORED = "-scored"
"""Behind the name of an agent: its row with the scored finish."""

FINISHES: Mapping[str, Finish] = {"": "written", SCORED: "scored"}
"""What stands behind an agent's name -> which of its lists counts."""


class DeepRecTable(LanguageTable):
    """Floors, retriever, language model, their mix, and every stage of the agent's life."""

    work: DeepRecWorkshop
    pairs = (
        ("sasrec", "popularity"),
        ("retriever", "sasrec"),
        ("mix", "retriever"),
        *((f"{agent}{finish}", "retriever") for finish in FINISHES for agent in AGENTS),
        *((f"agent-stage2{finish}", f"agent-warm{finish}") for finish in FINISHES),
        *((f"agent{finish}", f"{before}{finish}") for finish in FINISHES for before in ("agent-warm", "agent-stage2")),
        *((f"{agent}{finish}", other) for finish in FINISHES for agent in AGENTS[-2:] for other in ("sasrec", "lm", "mix", BLIND_ORACLE)),
        ("lm", BLIND_ORACLE),
    )
    protagonists = AGENTS
    life = AGENTS
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "sasrec": ("sasrec",),
        "retriever": ("retriever",),
        "lm": ("lm",),
        "mix": ("retriever", "lm"),
        **{f"{agent}{finish}": ("retriever", agent) for agent in AGENTS for finish in FINISHES},
    }

    def recommenders(self) -> Mapping[str, Callable[[], Recommender]]:
        work = self.work
        own: dict[str, Callable[[], Recommender]] = {
            "sasrec": lambda: work.sasrec,
            "retriever": lambda: work.retriever,
            "lm": lambda: work.language_row,
            "mix": lambda: mixed(work.retriever, work.language_row, work.valid_cases),
        }
        return {**self.floors(), **own, **self.ceilings()}

    def spared(self, name: str) -> float:
        return self.work.language_row.saved if name == "mix" else 0.0  # its part of row `lm` costs what it did there

    def speakers(self) -> Mapping[str, Speaker]:
        work = self.work
        agents = {
            name: Speaker(tuple(f"{name}{finish}" for finish in FINISHES), work.folder(name).is_dir(), partial(_judge_agent, work, name))
            for name in AGENTS
        }
        return {**agents, ENDPOINT: Speaker((ENDPOINT,), work.recipe.endpoint is not None, lambda: judge_endpoint(work))}

    def served(self) -> Mapping[str, Callable[[], Recommender]]:
        work = self.work

        def served(agent: str, finish: Finish) -> Recommender:
            policy = work.policy(agent)
            return AgentRecommender(
                policy, work.retriever, work.catalog, settings=work.recipe.protocol, fallback=work.retriever, finish=finish
            )

        return {f"{agent}{behind}": partial(served, agent, finish) for agent in AGENTS for behind, finish in FINISHES.items()}

    @property
    def agents(self) -> Sequence[str]:
        return list(self.served())

    @property
    def hearing(self) -> Sequence[str]:
        return ("retriever",)

    def rows(self, evaluations: Mapping[str, Evaluation]) -> tuple[list[Row], list[Difference]]:
        work = self.work
        rows, strict = [], {}
        for name, evaluation in evaluations.items():
            episodes = _episodes(work, name)
            rows.append(_row(work, name, evaluation, episodes))
            if episodes and name != ENDPOINT:
                strict[name] = replace(evaluation, ranks=answer_ranks(episodes, _finish(name)))
        seed = work.recipe.seed
        return rows, [
            *_strict_comparisons(strict, seed=seed),
            *part_comparisons(work, evaluations, [(f"{agent}{finish}", "retriever") for finish in FINISHES for agent in AGENTS[-2:]]),
            *endpoint_comparisons(evaluations, seed=seed),
        ]

    def told(self, page: PageData) -> PageData:
        episodes = _episodes(self.work, page.agent)
        return replace(page, episodes=episodes, readings=self._read(page.agent, episodes))

    def readings(self, name: str) -> Sequence[Reading]:
        return self._read(name, _episodes(self.work, name))

    def _read(self, name: str, episodes: Sequence[Episode]) -> Sequence[Reading]:
        """The conversations behind the row `name`, with the list that counts in it; of a row where nobody talked its plain lists."""
        evaluation = self.judged(name)
        if evaluation is None or not episodes:
            return super().readings(name)
        if _finish(name) == "scored":
            episodes = [replace(episode, lines=(), answer=()) for episode in episodes]
        return [of_episode(one, self.work.catalog, place) for one, place in zip(episodes, places_of(evaluation), strict=True)]

    def trace(self, name: str, case: Case, *, tokens: bool) -> list[RenderableType]:
        work = self.work
        policy = work.policy(name)
        [episode] = play(policy, work.retriever, [case], work.catalog, work.recipe.protocol, finish="both", titles=work.titles)
        shown: list[RenderableType] = [episode_view(episode, work.catalog)]
        if tokens and episode.tape is not None:
            shown.append(token_view(episode.tape, policy.decode))
        return shown


def mixed(retriever: Recommender, language: Recommender, cases: Sequence[Case], *, depth: int = 100) -> Mix:
    """Both fused by their scores, with the weight that does best on `cases`; all processes share the language model's work on these."""
    parts = (retriever, language)
    weight = choose_weight((retriever, Shared(language)), cases, how="score", depth=depth)
    return Mix(parts, (1 - weight, weight), how="score", depth=depth)


def _judge_agent(work: DeepRecWorkshop, name: str) -> None:
    """Play every test case once, greedily, and judge both finishes of the same conversations."""
    policy, together = work.policy(name), processes()
    with progress(f"judging {name}", len(work.test_cases)) as advance:

        def share(cases: Sequence[Case]) -> list[Episode]:
            return play(
                policy,
                work.retriever,
                cases,
                work.catalog,
                work.recipe.protocol,
                finish="both",
                titles=work.titles,
                progress=lambda done: advance(done * together.num_processes),
            )

        episodes = in_shares(share, work.test_cases)
    if not together.is_main_process:
        return
    save_said(work.folder("episodes") / f"{name}.jsonl.gz", episodes)
    for suffix, finish in FINISHES.items():
        evaluation = evaluate(Played(episodes, finish, work.retriever), work.test_cases)
        played = replace(evaluation, seconds=evaluation.seconds + sum(episode.seconds for episode in episodes))
        played.save(work.folder("ranks") / f"{name}{suffix}.parquet")


def _episodes(work: DeepRecWorkshop, name: str) -> Sequence[Episode]:
    """The conversations behind the row `name`; none where nobody talked."""
    agent = name.removesuffix(SCORED)
    return load_said(work.folder("episodes") / f"{agent}.jsonl.gz", Episode) if agent in (*AGENTS, ENDPOINT) else ()


def _finish(name: str) -> Finish:
    return "scored" if name.endswith(SCORED) else "written"


def _row(work: DeepRecWorkshop, name: str, evaluation: Evaluation, episodes: Sequence[Episode]) -> Row:
    """The row `name`, with the metrics of its rare targets beside the others and an agent's own figures."""
    row = make_row(name, evaluation, counts=work.counts, episodes=episodes, finish=_finish(name), seed=work.recipe.seed)
    if name == ENDPOINT:
        row = row.model_copy(update={"metrics": row.metrics | endpoint_figures(work, row.users)})
    return row.model_copy(update={"metrics": row.metrics | part_figures(work, evaluation)})


def _strict_comparisons(strict: Mapping[str, Evaluation], *, seed: int) -> list[Difference]:
    """What training did to the agent's own answers: evaluations in which an unreadable one is a miss, the trained stages against the warm
    start. The retriever's list, which stands in for it in serving, hides that a model has learned to answer at all."""
    pairs = [(f"{agent}{finish}", f"{AGENTS[0]}{finish}") for finish in FINISHES for agent in AGENTS[1:]]
    told = make_comparisons(strict, [(a, b) for a, b in pairs if a in strict and b in strict], seed=seed)
    return [one.model_copy(update={"metric": f"{STRICT}{one.metric}"}) for one in told]
