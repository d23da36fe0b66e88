"""Every model of a run is asked the same test cases; ranks, what was said, results.json and the page are what remains."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from fathom.contracts import Recommender
from fathom.errors import ConfigError, DataError, suggestion
from fathom.evaluation.evaluate import Evaluation, evaluate
from fathom.evaluation.results import DatasetFacts, Results, commit, machine, read, versions, write
from fathom.evaluation.rows import make_comparisons
from fathom.pipeline.guests import guests
from fathom.pipeline.stages import stage_seconds
from fathom.pipeline.table import ALL_ITEMS, Table
from fathom.pipeline.workshop import Workshop
from fathom.recipes import dump
from fathom.reports.page import PageData, write_page
from fathom.reports.tables import SHOWN, is_oracle
from fathom.reports.terminal import ComparisonTable, ResultsTable
from fathom.training.processes import Shared, processes
from fathom.training.run import progress

PIECE = 20_000
"""Cases judged between two times that what is known is written down."""


def judge_all(table: Table, *, command: str) -> None:
    """The last stage of a run: ask every model the same test cases, print the table, write the page."""
    judge(table, again=False)  # what another recipe had left is gone by now
    if processes().is_main_process:
        conclude(table, command=command)


def judge(table: Table, *, models: Sequence[str] = (), again: bool = True) -> None:
    """Ask every model, or only `models`, the run's test cases; leaves ranks/ and what was said in the run folder.

    Unless `again`, the rows that the folder holds of these very cases are left alone: an interrupted judgement goes on. Several
    processes share the cases; what a row costs is the sum of their seconds.
    """
    together, work = processes(), table.work
    makers, speakers = table.recommenders(), table.speakers()
    known = [*makers, *speakers]
    for name in models:
        if name not in known:
            raise ConfigError(f"--model {name}: the run has no such row{suggestion(name, known)}")
    asked = [case.user for case in work.test_cases]
    kept = set() if again else {name for name, evaluation in _kept(table).items() if evaluation.users.tolist() == asked}
    for name, make in makers.items():
        if (not models or name in models) and name not in kept:
            need(table, name)
            evaluation = _in_pieces(name, make, work, again=again, even_ties=table.even_ties)
            if together.is_main_process:
                spent = replace(evaluation, seconds=(evaluation.seconds + table.spared(name)) * together.num_processes)
                spent.save(work.folder("ranks") / f"{name}.parquet")
                for piece in _pieces(work, name):
                    piece.unlink()
    for name, speaker in speakers.items():
        if name in models:
            need(table, name)
        if (name in models or (not models and speaker.ready)) and not kept.issuperset(speaker.rows):
            speaker.judge()


def _in_pieces(name: str, make: Callable[[], Recommender], work: Workshop, *, again: bool, even_ties: bool) -> Evaluation:
    """All test cases judged, `PIECE` at a time; each piece is kept until all are there, so that an interrupted judgement goes on."""
    together, cases = processes(), work.test_cases
    if together.is_main_process and again:
        for piece in _pieces(work, name):
            piece.unlink()
    together.wait_for_everyone()
    there = [piece.is_file() for piece in (_piece(work, name, start) for start in range(0, len(cases), PIECE))]
    together.wait_for_everyone()  # all have looked before the first one is written
    recommender, parts = Shared(make()), []
    with progress(f"judging {name}", len(cases)) as advance:
        for number, start in enumerate(range(0, len(cases), PIECE)):
            asked, path = cases[start : start + PIECE], _piece(work, name, start)
            kept = Evaluation.load(path) if there[number] else None
            if kept is not None and kept.users.tolist() == [case.user for case in asked]:
                parts.append(kept)
                advance(len(asked))
                continue
            parts.append(evaluate(recommender, asked, even_ties=even_ties, progress=advance))
            if together.is_main_process and len(cases) > PIECE:
                parts[-1].save(path)
    return Evaluation.joined(parts)


def _piece(work: Workshop, name: str, start: int) -> Path:
    return work.folder("ranks") / "unfinished" / f"{name}@{start}.parquet"


def _pieces(work: Workshop, name: str) -> list[Path]:
    """The pieces of the row `name` that are there."""
    return [path for path in (work.folder("ranks") / "unfinished").glob("*.parquet") if path.name.rpartition("@")[0] == name]


def need(table: Table, name: str) -> None:
    """A `DataError` that says what to run, unless the run folder holds all that the row `name` is made of."""
    folder = table.work.run.folder
    for stage in table.needs.get(name, ()):
        if not table.work.folder(stage).is_dir():
            raise DataError(
                f"{folder}: '{name}' is not trained yet, it needs stage '{stage}': "
                f"fathom run {folder}/recipe.yaml --out {folder} --until {stage}"
            )


def conclude(table: Table, *, command: str) -> None:
    """Write results.json and the page from what the run folder holds, and print the table."""
    results = summarise(table, command=command)
    console = Console()
    show(results, console, table.shown)
    console.print(f"page: {report(table, results)}")


def summarise(table: Table, *, command: str) -> Results:
    """Rows and comparisons of whatever ranks the run folder holds, written to results.json."""
    work, evaluations = table.work, _kept(table)
    recipe, dataset = work.recipe, work.dataset
    rows, more = table.rows(evaluations)
    pairs = [(a, b) for a, b in dict.fromkeys(table.pairs) if a in evaluations and b in evaluations]
    strangers, invited = guests(work.run.folder)
    if strangers:
        rows = sorted([*rows, *strangers], key=lambda row: is_oracle(row.model))
        pairs += [(name, guest) for name in table.protagonists[-1:] if name in evaluations for guest in invited]
        evaluations |= invited
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
            split=f"{work.split.rule}, {asked}{', seen items excluded' if table.ranked == ALL_ITEMS else ''}. {work.split.leaks}",
            ranked=table.ranked,
            asked=table.asked,
        ),
        rows=rows,
        comparisons=[*make_comparisons(evaluations, pairs, seed=recipe.seed), *more],
    )
    write(work.run.folder / "results.json", results)
    return results


def _kept(table: Table) -> dict[str, Evaluation]:
    """The evaluations in ranks/, in the order of the table."""
    names = [*table.recommenders(), *(row for speaker in table.speakers().values() for row in speaker.rows)]
    names.sort(key=lambda name: name.startswith("oracle"))
    folder, weights = table.work.folder("ranks"), table.weights()
    there = [name for name in names if (folder / f"{name}.parquet").is_file()]
    return {name: replace(Evaluation.load(folder / f"{name}.parquet"), weights=weights) for name in there}


def report(table: Table, results: Results) -> Path:
    """Write report.html from what the run folder holds; returns its path."""
    path = table.work.run.folder / "report.html"
    write_page(path, page_of(table, results))
    return path


def page_of(table: Table, results: Results) -> PageData:
    """What a page shows of the run folder: about its last headline that was judged, beside the row that this one came from."""
    work = table.work
    agent = next((name for name in reversed(table.headlines) if results.row(name) is not None), "")
    lived = [name for name in table.life if results.row(name) is not None]
    earlier = lived[0] if agent in lived[1:] else ""
    page = PageData(
        title=work.recipe.name,
        results=results,
        catalog=work.catalog,
        log=work.run.log_lines(),
        agent=agent,
        settings=dump(work.recipe),
        notes=(work.split.leaks, *work.dataset.notes),
        stage_seconds=stage_seconds(work.run.folder),
        shown=table.shown,
        before=table.readings(earlier) if earlier else (),
        earlier=earlier,
    )
    return table.told(page) if agent else page


def show(results: Results, console: Console, metrics: Sequence[str] = SHOWN) -> None:
    """Print the table and the comparisons below it."""
    console.print(ResultsTable(results, metrics))
    console.print()
    console.print(ComparisonTable(results))


def results_of(folder: Path) -> Results:
    """The results in a run folder; without them a `DataError` says how to make them."""
    if not (folder / "results.json").is_file():
        raise DataError(
            f"{folder}: there is no results.json in it, so it is not the folder of a finished run: "
            "the same 'fathom run' command again finishes one, 'fathom evaluate' judges one again"
        )
    return read(folder / "results.json")
