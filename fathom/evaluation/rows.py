"""From kept ranks to the rows and comparisons of `results.json`."""

from collections.abc import Mapping, Sequence

from fathom.evaluation.agent import Finish, agent_figures, answer_ranks
from fathom.evaluation.compare import compare, interval
from fathom.evaluation.evaluate import Evaluation, paired
from fathom.evaluation.results import Difference, Row
from fathom.metrics import Values, per_case
from fathom.records import Episode, Ints

STRICT = "strict_"
"""Before the name of a metric: an unreadable answer counts as a miss, nothing is filled in."""


def make_row(
    model: str,
    evaluation: Evaluation,
    *,
    counts: Ints | None = None,
    episodes: Sequence[Episode] = (),
    finish: Finish = "written",
    seed: int = 0,
) -> Row:
    """The row `model`: every ranking metric with its interval, list figures where `counts` is given, agent figures where `episodes` are.

    `counts` (n_items + 1,) is how often training holds each item id. For an agent the plain metrics are those of serving (the retriever's
    list stands in for an unreadable answer) and the ones named `strict_...` count such an answer as a miss; both get intervals.
    """
    values: dict[str, Values] = {name: evaluation.per_case(name) for name in evaluation.metrics()}
    figures: dict[str, float] = evaluation.list_figures(counts) if counts is not None else {}
    if episodes:
        ranks = answer_ranks(episodes, finish)
        agent = agent_figures(episodes, finish)
        values |= {name: per_case(name.removeprefix(STRICT), ranks) for name in agent if name.startswith(STRICT)}
        figures |= agent
    spans = {name: interval(numbers, evaluation.users, seed=seed) for name, numbers in values.items()}
    return Row(
        model=model,
        metrics={name: span.mean for name, span in spans.items()} | {name: v for name, v in figures.items() if name not in spans},
        low={name: min(span.low, span.mean) for name, span in spans.items()},
        high={name: max(span.high, span.mean) for name, span in spans.items()},
        users=len(evaluation.ranks),
        seconds=evaluation.seconds,
        peak_mb=evaluation.peak_mb,
    )


def make_comparisons(
    evaluations: Mapping[str, Evaluation], pairs: Sequence[tuple[str, str]], *, metrics: Sequence[str] = ("ndcg@10",), seed: int = 0
) -> list[Difference]:
    """The paired comparison of each (a, b) in `pairs` by each of `metrics`; both must have been asked the same cases in the same order."""
    found = []
    for a, b in pairs:
        paired({a: evaluations[a], b: evaluations[b]})
        for name in metrics:
            told = compare(evaluations[a].per_case(name), evaluations[b].per_case(name), evaluations[a].users, seed=seed)
            found.append(
                Difference(a=a, b=b, metric=name, ratio=told.ratio, difference=told.difference, p=told.p, low=told.low, high=told.high)
            )
    return found
