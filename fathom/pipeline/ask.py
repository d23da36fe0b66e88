"""A finished run is asked: recommend to anybody, show one conversation."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fathom.agents.play import play
from fathom.agents.recommender import AgentRecommender
from fathom.contracts import Recommender
from fathom.data.titles import TitleIndex
from fathom.errors import ConfigError, DataError, suggestion
from fathom.pipeline.judge import FINISHES, need, recommenders
from fathom.pipeline.workshop import AGENTS, Workshop, opened
from fathom.records import PAD, Case, Catalog, cases_of
from fathom.reports.episode import episode_view, token_view

SEARCHED = 20_000
"""Names among which a nearest one is looked for: more would take seconds."""


def recommender_of(work: Workshop, model: str) -> Recommender:
    """The row `model` of the run, ready to recommend; an unknown or unfinished one is a `ConfigError`."""
    makers = recommenders(work)
    agents = {f"{agent}{behind}": (agent, finish) for agent in AGENTS for behind, finish in FINISHES.items()}
    if model in agents:
        agent, finish = agents[model]
        need(work, agent)
        return AgentRecommender(
            work.policy(agent), work.retriever, work.catalog, settings=work.recipe.protocol, fallback=work.retriever, finish=finish
        )
    if model not in makers:
        raise ConfigError(f"--model {model}: a run has no such model{suggestion(model, [*makers, *agents])}")
    need(work, model)
    return makers[model]()


def recommend_to(folder: Path, *, history: str, model: str, k: int) -> None:
    """`fathom recommend`: titles in, titles out."""
    work = opened(folder)
    items = resolved(history, work.catalog, work.titles)
    ranking = recommender_of(work, model).recommend(cases_of([items]), k)
    table = Table(title=f"{model} for {len(items)} titles", title_justify="left", header_style="bold")
    table.add_column("", justify="right")
    table.add_column("title")
    table.add_column("about", style="dim")
    for place, item in enumerate((item for item in ranking.items[0].tolist() if item != PAD), start=1):
        table.add_row(str(place), work.catalog.title(item), ", ".join(work.catalog.values(item)[:4]))
    Console().print(table)


def resolved(history: str, catalog: Catalog, titles: TitleIndex) -> tuple[int, ...]:
    """The item ids of titles separated by ';', oldest first; an unknown title is a `DataError` with the nearest ones."""
    items = []
    for title in filter(None, (part.strip() for part in history.split(";"))):
        item = titles.resolve(title)
        if item is None:
            raise DataError(f"--history: the catalogue has no '{title}'{_nearest(title, catalog.titles)}")
        items.append(item)
    if not items:
        raise DataError("--history is empty: write titles, oldest first, separated by ';'")
    return tuple(items)


def trace_user(folder: Path, *, user: str, model: str, tokens: bool) -> None:
    """`fathom trace`: one test conversation in colours."""
    work = opened(folder)
    if model not in AGENTS:
        raise ConfigError(f"--model {model}: only an agent has conversations{suggestion(model, AGENTS)}")
    case = _test_case(work, user)
    need(work, model)
    policy = work.policy(model)
    [episode] = play(policy, work.retriever, [case], work.catalog, work.recipe.protocol, finish="both", titles=work.titles)
    console = Console()
    console.print(episode_view(episode, work.catalog))
    if tokens and episode.tape is not None:
        console.print(token_view(episode.tape, policy.decode))


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
