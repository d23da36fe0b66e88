"""A stage for each named model and each row, one that lays out candidates, and one that asks everybody."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from rich.console import Console

from fathom.contracts import Validate
from fathom.data import candidates
from fathom.p5.lessons import LessonPlan
from fathom.p5.model import P5
from fathom.p5.training import train
from fathom.pipeline.groundwork import DATA, from_source
from fathom.pipeline.judge import judge_all
from fathom.pipeline.p5.answers import Sentenced
from fathom.pipeline.p5.recipe import P5Recipe
from fathom.pipeline.p5.table import P5Table
from fathom.pipeline.p5.workshop import P5Workshop
from fathom.pipeline.sequential.stages import fits_of
from fathom.pipeline.stages import Stage
from fathom.training.processes import processes
from fathom.training.sequential import figures


def fit_row(work: P5Workshop, *, name: str) -> None:
    """Train one row on the training part; the weights that rank validation cases best are kept."""
    settings, template = work.recipe.trainings[name], work.recipe.templates[work.recipe.ranks_by]

    def validate(model: P5) -> Validate:
        return lambda: figures(Sentenced(model, template), work.valid_cases)

    def told(plan: LessonPlan) -> None:
        counts = ", ".join(f"{count:,} {task}" for task, count in plan.counts.items() if count)
        if processes().is_main_process:
            Console().print(f"  lessons of an epoch: {counts}", highlight=False)

    model = train(
        work.split.train,
        work.catalog,
        vectors=lambda: work.vectors,
        settings=settings,
        run=work.run,
        stage=name,
        validate=validate if work.valid_cases else None,
        told=told,
        device=work.device,
    )
    work.keep(model, name)


def lay_out(work: P5Workshop) -> None:
    """Draw the candidates of each test case, once for all rows and all times."""
    lists = candidates.drawn(work.test_cases, work.catalog.n_items, negatives=work.recipe.negatives, seed=work.recipe.seed)
    candidates.save(lists, work.lists_file)


def make_elsewhere(work: P5Workshop) -> None:
    """The other catalogue after its filters."""
    source = work.recipe.elsewhere
    assert source is not None
    dataset = from_source(source)
    dataset.save(work.folder("elsewhere"))
    Console().print(f"  {dataset.summary()}", highlight=False)


def judge_everybody(work: P5Workshop) -> None:
    """Everybody is asked about the same test cases."""
    judge_all(P5Table(work), command=work.command)


def stages_of(recipe: P5Recipe) -> Sequence[Stage[Any]]:
    """Data and named models as for sequences; then a P5 for each row, candidates, results."""
    fits = fits_of(recipe)
    learned = (*DATA, "split", "valid_users", "seed", "encoder", "ranks_by")
    rows = [
        Stage(name, f"P5 with {row.identifiers.scheme} ids", ("dataset",), (*learned, "p5", f"rows.{name}"), partial(fit_row, name=name))
        for name, row in recipe.trainings.items()
    ]
    between: list[Stage[Any]] = []
    if any(recipe.templates[name].asks in ("candidates", "taken") for name in recipe.asked):
        settings = (*DATA, "split", "test_users", "seed", "negatives")
        between.append(Stage("candidates", "lists to choose from", ("dataset",), settings, lay_out, alone=True))
    if recipe.elsewhere is not None:
        between.append(Stage("elsewhere", "another catalogue", (), ("elsewhere",), make_elsewhere, alone=True))
    needs = (*recipe.models.names, *recipe.rows, *(stage.name for stage in between))
    asked = ("test_users", "mixed", "asked", "elsewhere_asked", "writing", "headlines")
    leaves = ("ranks", "guests", "tasks")
    return [*fits, *rows, *between, Stage("results", "everybody is asked the same", needs, asked, judge_everybody, leaves=leaves)]
