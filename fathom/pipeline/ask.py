"""A finished run is asked: recommend to anybody, show what it thinks about one person."""

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from fathom.contracts import PreferenceAware, Recommender
from fathom.data.titles import TitleIndex
from fathom.errors import ConfigError, DataError, suggestion
from fathom.pipeline.judge import need
from fathom.pipeline.methods import opened, table_of
from fathom.pipeline.sequential.index import indexed
from fathom.pipeline.table import Table
from fathom.pipeline.workshop import Workshop
from fathom.records import PAD, Case, Catalog, cases_of

SEARCHED = 20_000
"""Names among which a nearest one is looked for: more would take seconds."""


def recommender_of(table: Table, model: str) -> Recommender:
    """The row `model` of the run, ready to recommend; an unknown or unfinished one is a `ConfigError`."""
    makers = {**table.recommenders(), **table.served()}
    if model not in makers:
        raise ConfigError(f"--model {model}: a run has no such model{suggestion(model, list(makers))}")
    need(table, model)
    return makers[model]()


def recommend_to(folder: Path, *, history: str, preference: str, model: str, k: int, approximate: bool = False, at: str = "") -> None:
    """`fathom recommend`: titles in, titles out; with `approximate` through the model's index, which may be in Qdrant `at` some place."""
    if at and not approximate:
        raise ConfigError("--at says where an index is: write --approximate as well")
    work = opened(folder)
    items = resolved(history, work.catalog, work.titles) if history or not preference else ()
    table = table_of(work)
    model = model or table.protagonists[-1]
    recommender = indexed(folder, model, at=at) if approximate else recommender_of(table, model)
    cases = cases_of([items])
    ranking = (
        preference_aware(recommender, model).recommend(cases, k, preferences=[preference])
        if preference
        else recommender.recommend(cases, k)
    )
    told = f"{model} for {len(items)} titles" + (f" and '{preference}'" if preference else "")
    shown = Grid(title=escape(told), title_justify="left", header_style="bold")
    shown.add_column("", justify="right")
    shown.add_column("title")
    shown.add_column("id", style="dim")
    shown.add_column("about", style="dim")
    for place, item in enumerate((item for item in ranking.items[0].tolist() if item != PAD), start=1):
        shown.add_row(str(place), work.catalog.title(item), work.catalog.names[item - 1], ", ".join(work.catalog.values(item)[:4]))
    Console().print(shown)


def preference_aware(recommender: Recommender, model: str) -> PreferenceAware:
    """The recommender, if it hears what is wanted; otherwise a `ConfigError`."""
    if "preferences" not in signature(recommender.recommend).parameters:
        raise ConfigError(
            f"--preference: {model} hears no words; of the named models 'text' does, and in a run of DeepRec 'retriever': choose by --model"
        )
    return cast(PreferenceAware, recommender)


def resolved(history: str, catalog: Catalog, titles: TitleIndex) -> tuple[int, ...]:
    """The item ids of titles separated by ';', oldest first; an unknown title is a `DataError` with the nearest ones."""
    items = []
    for title in filter(None, (part.strip() for part in history.split(";"))):
        item = titles.resolve(title)
        if item is None:
            raise DataError(f"--history: the catalogue has no '{title}'{_nearest(title, catalog.titles)}")
        items.append(item)
    if not items:
        raise DataError("--history is empty: write titles, oldest first, separated by ';', or what is wanted as --preference")
    return tuple(items)


def trace_user(folder: Path, *, user: str, model: str, tokens: bool) -> None:
    """`fathom trace`: what a model that speaks says about one test user, in colours."""
    work = opened(folder)
    table = table_of(work)
    model = model or table.protagonists[-1]
    known = list(dict.fromkeys((*table.protagonists, *(row for speaker in table.speakers().values() for row in speaker.rows))))
    if model not in known:
        raise ConfigError(f"--model {model}: it recommends without a word{suggestion(model, known)}")
    case = _test_case(work, user)
    need(table, model)
    console = Console()
    for part in table.trace(model, case, tokens=tokens):
        console.print(part)


def _test_case(work: Workshop, user: str) -> Case:
    """The test case of the user with that outside name; the first one for ''."""
    if not user:
        return work.test_cases[0]
    names = work.dataset.interactions.users
    for case in work.split.test:
        if names[case.user] == user:
            return case
    raise DataError(f"--user {user}: no test user has this name{_nearest(user, [names[case.user] for case in work.split.test])}")


def _nearest(word: str, known: Sequence[str]) -> str:
    """The words to add to an error about a name among very many: the nearest one, or a few that exist."""
    near = suggestion(word, known[:SEARCHED])
    return near if near.startswith("; did you mean") else f"; there is for example {', '.join(repr(name) for name in known[:3])}"
