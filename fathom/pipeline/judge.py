"""Every model of a run is asked the same test cases; ranks, episodes, results.json and the page are what remains."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from fathom.agents.episodes import load_episodes, save_episodes
from fathom.agents.play import play
from fathom.agents.recommender import Played
from fathom.contracts import Recommender
from fathom.errors import ConfigError, DataError, suggestion
from fathom.evaluation.agent import Finish, answer_ranks
from fathom.evaluation.evaluate import Evaluation, evaluate
from fathom.evaluation.results import DatasetFacts, Difference, Results, Row, commit, machine, read, versions, write
from fathom.evaluation.rows import STRICT, make_comparisons, make_row
from fathom.pipeline.endpoint import ENDPOINT, endpoint_comparisons, endpoint_figures, judge_endpoint
from fathom.pipeline.stages import stage_seconds
from fathom.pipeline.workshop import AGENTS, Workshop, opened
from fathom.recipes import dump
from fathom.recommenders.mix import Mix, choose_weight
from fathom.recommenders.popular import Popularity
from fathom.recommenders.textual import TextRecommender
from fathom.records import Case, Episode
from fathom.reports.page import PageData, write_page
from fathom.reports.tables import SHOWN
from fathom.reports.terminal import ComparisonTable, ResultsTable
from fathom.training.processes import Shared, in_shares, processes
from fathom.training.run import progress

BLIND_ORACLE = "oracle-without-ratings"
"""In a planted world, the best that can be done without ratings: an agent above it has read them."""

SCORED = "-scored"
"""Behind the name of an agent: its row with the scored finish."""

FINISHES: Mapping[str, Finish] = {"": "written", SCORED: "scored"}
"""What stands behind an agent's name -> which of its lists counts."""

PAIRS = (
    ("sasrec", "popularity"),
    ("retriever", "sasrec"),
    ("mix", "retriever"),
    *((f"{agent}{finish}", "retriever") for finish in FINISHES for agent in AGENTS),
    *((f"agent-stage2{finish}", f"agent-warm{finish}") for finish in FINISHES),
    *((f"agent{finish}", f"{before}{finish}") for finish in FINISHES for before in ("agent-warm", "agent-stage2")),
    *((f"{agent}{finish}", other) for finish in FINISHES for agent in AGENTS[-2:] for other in ("sasrec", "lm", "mix", BLIND_ORACLE)),
    ("lm", BLIND_ORACLE),
)
"""Who is compared with whom, where both rows exist."""

RARE = 10
"""Items with fewer training interactions are reported apart."""


NEEDS: Mapping[str, tuple[str, ...]] = {
    "sasrec": ("sasrec",),
    "retriever": ("retriever",),
    "lm": ("lm",),
    "mix": ("retriever", "lm"),
    **{agent: ("retriever", agent) for agent in AGENTS},
}
"""Row -> the stages that must have left their products for it; the other rows need no training."""


def judge(work: Workshop, *, models: Sequence[str] = (), again: bool = True) -> None:
    """Ask every model, or only `models`, the run's test cases; leaves ranks/ and episodes/ in the run folder.

    Unless `again`, the rows that the folder holds of these very cases are left alone: an interrupted judgement goes on. Several
    processes share the cases; what a row costs is the sum of their seconds.
    """
    together = processes()
    makers = recommenders(work)
    known = [*makers, *AGENTS, ENDPOINT]
    for name in models:
        if name not in known:
            raise ConfigError(f"--model {name}: the run has no such row{suggestion(name, known)}")
    asked = [case.user for case in work.test_cases]
    kept = set() if again else {name for name, evaluation in _kept(work).items() if evaluation.users.tolist() == asked}
    for name, make in makers.items():
        if (not models or name in models) and name not in kept:
            need(work, name)
            recommender = Shared(make())
            with progress(f"judging {name}", len(work.test_cases)) as advance:
                evaluation = evaluate(recommender, work.test_cases, progress=advance)
            if together.is_main_process:
                saved = work.language_row.saved if name == "mix" else 0.0  # its part of row `lm` costs what it did there
                spent = replace(evaluation, seconds=(evaluation.seconds + saved) * together.num_processes)
                spent.save(work.folder("ranks") / f"{name}.parquet")
    for name in AGENTS:
        if name in models:
            need(work, name)
        if (not models or name in models) and work.folder(name).is_dir() and f"{name}{SCORED}" not in kept:
            _judge_agent(work, name)
    if together.is_main_process and ((work.recipe.endpoint is not None and not models) or ENDPOINT in models):
        judge_endpoint(work)


def need(work: Workshop, name: str) -> None:
    """A `DataError` that says what to run, unless the run folder holds all that the row `name` is made of."""
    folder = work.run.folder
    for stage in NEEDS.get(name, ()):
        if not work.folder(stage).is_dir():
            raise DataError(
                f"{folder}: '{name}' is not trained yet, it needs stage '{stage}': "
                f"fathom run {folder}/recipe.yaml --out {folder} --until {stage}"
            )


def recommenders(work: Workshop) -> Mapping[str, Callable[[], Recommender]]:
    """Name of each row that is no agent -> how it is made, in the order of the table."""
    rows: dict[str, Callable[[], Recommender]] = {
        "popularity": lambda: Popularity(work.split.train, work.catalog.n_items),
        "text": lambda: TextRecommender(work.vectors),
        "sasrec": lambda: work.sasrec,
        "retriever": lambda: work.retriever,
        "lm": lambda: work.language_row,
        "mix": lambda: mixed(work.retriever, work.language_row, work.valid_cases),
    }
    oracle = work.oracle
    if oracle is None:
        return rows
    if work.recipe.world is not None and work.recipe.world.planted:
        rows[BLIND_ORACLE] = oracle.without_ratings
    return rows | {"oracle": lambda: oracle}


def mixed(retriever: Recommender, language: Recommender, cases: Sequence[Case], *, depth: int = 100) -> Mix:
    """Both fused by their scores, with the weight that does best on `cases`; all processes share the language model's work on these."""
    parts = (retriever, language)
    weight = choose_weight((retriever, Shared(language)), cases, how="score", depth=depth)
    return Mix(parts, (1 - weight, weight), how="score", depth=depth)


def _judge_agent(work: Workshop, name: str) -> None:
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
    save_episodes(work.folder("episodes") / f"{name}.jsonl.gz", episodes)
    for suffix, finish in FINISHES.items():
        evaluation = evaluate(Played(episodes, finish, work.retriever), work.test_cases)
        played = replace(evaluation, seconds=evaluation.seconds + sum(episode.seconds for episode in episodes))
        played.save(work.folder("ranks") / f"{name}{suffix}.parquet")


def summarise(work: Workshop, *, command: str) -> Results:
    """Rows and comparisons of whatever ranks the run folder holds, written to results.json."""
    evaluations = _kept(work)
    recipe, dataset = work.recipe, work.dataset
    rows, strict = [], {}
    for name, evaluation in evaluations.items():
        episodes = _episodes(work, name)
        rows.append(_row(work, name, evaluation, episodes))
        if episodes and name != ENDPOINT:
            strict[name] = replace(evaluation, ranks=answer_ranks(episodes, _finish(name)))
    pairs = [(a, b) for a, b in dict.fromkeys(PAIRS) if a in evaluations and b in evaluations]
    asked = f"{len(work.test_cases):,} of {len(work.split.test):,} test users" if recipe.test_users else "all test users"
    results = Results(
        schema="fathom-results/1",
        command=command,
        recipe=recipe.name,
        commit=commit(),
        versions=versions(),
        machine=machine(),
        seed=recipe.seed,
        dataset=DatasetFacts(
            name=dataset.name,
            fingerprint=dataset.fingerprint,
            users=dataset.interactions.n_users,
            items=dataset.catalog.n_items,
            interactions=dataset.interactions.n_events,
            split=f"{recipe.split}, {asked}, seen items excluded. {work.split.leaks}",
        ),
        rows=rows,
        comparisons=[
            *make_comparisons(evaluations, pairs, seed=recipe.seed),
            *_strict_comparisons(strict, seed=recipe.seed),
            *_rare_comparisons(work, evaluations),
            *endpoint_comparisons(evaluations, seed=recipe.seed),
        ],
    )
    write(work.run.folder / "results.json", results)
    return results


def _kept(work: Workshop) -> dict[str, Evaluation]:
    """The evaluations in ranks/, in the order of the table."""
    names = [*recommenders(work), *(f"{agent}{finish}" for agent in AGENTS for finish in FINISHES)]
    names = sorted([*names, ENDPOINT], key=lambda name: name.startswith("oracle"))
    folder = work.folder("ranks")
    return {name: Evaluation.load(folder / f"{name}.parquet") for name in names if (folder / f"{name}.parquet").is_file()}


def _episodes(work: Workshop, name: str) -> Sequence[Episode]:
    """The conversations behind the row `name`; none where nobody talked."""
    agent = name.removesuffix(SCORED)
    return load_episodes(work.folder("episodes") / f"{agent}.jsonl.gz") if agent in (*AGENTS, ENDPOINT) else ()


def _finish(name: str) -> Finish:
    return "scored" if name.endswith(SCORED) else "written"


def _row(work: Workshop, name: str, evaluation: Evaluation, episodes: Sequence[Episode]) -> Row:
    """The row `name`, with the metrics of its rare targets beside the others and an agent's own figures."""
    row = make_row(name, evaluation, counts=work.counts, episodes=episodes, finish=_finish(name), seed=work.recipe.seed)
    if name == ENDPOINT:
        row = row.model_copy(update={"metrics": row.metrics | endpoint_figures(work, row.users)})
    rare = _rare(work, evaluation)
    if rare is None:
        return row
    return row.model_copy(update={"metrics": row.metrics | {f"rare/{key}": value for key, value in rare.metrics((10, 20)).items()}})


def _rare(work: Workshop, evaluation: Evaluation) -> Evaluation | None:
    """The cases whose target has fewer than `RARE` training interactions; None where there are none."""
    chosen = np.flatnonzero(work.counts[evaluation.targets] < RARE)
    return evaluation.subset(chosen) if len(chosen) else None


def _strict_comparisons(strict: Mapping[str, Evaluation], *, seed: int) -> list[Difference]:
    """What training did to the agent's own answers: evaluations in which an unreadable one is a miss, the trained stages against the warm
    start. The retriever's list, which stands in for it in serving, hides that a model has learned to answer at all."""
    pairs = [(f"{agent}{finish}", f"{AGENTS[0]}{finish}") for finish in FINISHES for agent in AGENTS[1:]]
    told = make_comparisons(strict, [(a, b) for a, b in pairs if a in strict and b in strict], seed=seed)
    return [one.model_copy(update={"metric": f"{STRICT}{one.metric}"}) for one in told]


def _rare_comparisons(work: Workshop, evaluations: Mapping[str, Evaluation]) -> list[Difference]:
    """Agents against their retriever on the rare targets alone."""
    rare = {name: part for name, evaluation in evaluations.items() if (part := _rare(work, evaluation)) is not None}
    pairs = [(a, "retriever") for a in rare if a.removesuffix(SCORED) in AGENTS[-2:] and "retriever" in rare]
    return [told.model_copy(update={"metric": f"rare/{told.metric}"}) for told in make_comparisons(rare, pairs, seed=work.recipe.seed)]


def report(work: Workshop, results: Results) -> Path:
    """Write report.html from what the run folder holds; returns its path."""
    agent = next((name for name in reversed(AGENTS) if results.row(name) is not None), "")
    path = work.run.folder / "report.html"
    write_page(
        path,
        PageData(
            title=work.recipe.name,
            results=results,
            catalog=work.catalog,
            log=work.run.log_lines(),
            episodes=load_episodes(work.folder("episodes") / f"{agent}.jsonl.gz") if agent else (),
            agent=agent,
            settings=dump(work.recipe),
            notes=(work.split.leaks, *work.dataset.notes),
            stage_seconds=stage_seconds(work.run.folder),
        ),
    )
    return path


def show(results: Results, console: Console, metrics: Sequence[str] = SHOWN) -> None:
    """Print the table and the comparisons below it."""
    console.print(ResultsTable(results, metrics))
    console.print()
    console.print(ComparisonTable(results))


def judge_folder(folder: Path, *, models: Sequence[str], users: int, command: str) -> None:
    """`fathom evaluate`: judge again and write results.json and the page anew."""
    work = opened(folder)
    if users:
        work.recipe = work.recipe.model_copy(update={"test_users": users})
        if models:
            raise ConfigError("--users changes who is asked, so every row must be judged again: leave --model out")
    judge(work, models=models)
    results = summarise(work, command=command)
    console = Console()
    show(results, console)
    console.print(f"page: {report(work, results)}")


def report_folder(folder: Path) -> None:
    """`fathom report`: write the page anew from what the run folder holds."""
    work = opened(folder)
    Console().print(f"page: {report(work, results_of(folder))}")


def results_of(folder: Path) -> Results:
    """The results in a run folder; without them a `DataError` says how to make them."""
    if not (folder / "results.json").is_file():
        raise DataError(
            f"{folder}: there is no results.json in it, so it is not the folder of a finished run: "
            "the same 'fathom run' command again finishes one, 'fathom evaluate' judges one again"
        )
    return read(folder / "results.json")
