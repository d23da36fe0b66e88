"""Named models are fitted, a language model is made ready, lists are laid out, and everybody puts them in order."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from fathom.data import candidates
from fathom.errors import ConfigError
from fathom.pipeline.asking.stages import language_stages
from fathom.pipeline.groundwork import DATA
from fathom.pipeline.judge import judge_all
from fathom.pipeline.ranking.recipe import CHANCE, RankingRecipe
from fathom.pipeline.ranking.table import RankingTable
from fathom.pipeline.ranking.workshop import RankingWorkshop
from fathom.pipeline.sequential.stages import fits_of
from fathom.pipeline.stages import Stage
from fathom.pipeline.workshop import data_folder
from fathom.recommenders.mix import shortlist


def lay_out(work: RankingWorkshop) -> None:
    """The list of each test case."""
    settings, cases = work.recipe.candidates, work.test_cases
    if settings.protocol == "stored":
        source = work.recipe.source
        if source is None:
            raise ConfigError("candidates.protocol 'stored' needs a source that has lists: write has-target for the built-in world")
        there = candidates.stored(data_folder(source.name) / candidates.FILE, work.dataset)
        if missing := [case.user for case in cases if case.user not in there]:
            user = work.dataset.interactions.users[missing[0]]
            raise ConfigError(
                f"{len(missing):,} of {len(cases):,} test users have no stored list (the first is '{user}'): is split: given meant?"
            )
        lists = {case.user: there[case.user] for case in cases}
    elif settings.protocol == "has-target":
        lists = candidates.drawn(cases, work.catalog.n_items, negatives=settings.size - 1, seed=work.recipe.seed)
    else:
        found = [_found(work, name) for name in settings.retrievers]
        lists = {
            case.user: shortlist([[item for item in rows[place] if item] for rows in found], seen=set(case.history), size=settings.size)
            for place, case in enumerate(cases)
        }
    candidates.save(lists, work.lists_file)
    share = candidates.ceiling(cases, lists)
    mean = sum(map(len, lists.values())) / len(lists)
    told = f"{len(lists):,} lists of {mean:.1f} items; {share:.1%} hold what came next: the ceiling of whoever ranks them"
    Console().print(f"  {told}", highlight=False)


def _found(work: RankingWorkshop, name: str) -> list[list[int]]:
    """What a retriever has for each test case, best first."""
    depth, cases = work.recipe.candidates.depth, work.test_cases
    if name == CHANCE:
        lists = candidates.random_items(cases, work.catalog.n_items, depth, seed=work.recipe.seed)
        return [list(lists[case.user]) for case in cases]
    found: list[list[int]] = work.model(name).recommend(cases, depth).items.tolist()
    return found


def judge_rankers(work: RankingWorkshop) -> None:
    """Everybody is given the same lists."""
    judge_all(RankingTable(work), command=work.command)


def stages_of(recipe: RankingRecipe) -> Sequence[Stage[Any]]:
    """Data and named models as for sequences; then the language model, the lists, the results."""
    before = fits_of(recipe)
    names = recipe.models.names
    cut = (*DATA, "split", "seed", "test_users")
    lists = Stage(
        "candidates",
        "the lists to be put in order",
        ("dataset", *(name for name in recipe.candidates.retrievers if name != CHANCE)),
        (*cut, "candidates"),
        lay_out,
        alone=True,
    )
    speaking = language_stages(recipe)
    needs = (*names, *(stage.name for stage in speaking), "candidates")
    results = Stage(
        "results",
        "everybody puts the same lists in order",
        needs,
        ("test_users", "asked", "endpoint", "mixed"),
        judge_rankers,
        leaves=("ranks", "guests", "asked"),
    )
    return [*before, *speaking, lists, results]
