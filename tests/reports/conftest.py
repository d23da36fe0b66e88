"""A small catalogue with hostile titles, episodes of every kind, and a table of made-up rows."""

import pytest

from fathom.evaluation.results import DatasetFacts, Difference, Results, Row
from fathom.records import Case, Catalog, Ending, Episode, Tape, Turn

HOSTILE = "<script>alert('x')</script> [bold]& \"Sons\""


@pytest.fixture
def catalog() -> Catalog:
    titles = ("Heat (1995)", "Alien (1979)", HOSTILE, "Amélie (2001)", "[REC] (2007)", "Up (2009)")
    return Catalog(names=tuple(f"m{number}" for number in range(1, 7)), titles=titles)


@pytest.fixture
def episodes() -> list[Episode]:
    turns = (
        Turn("Two crime films in a row; something darker?", "dark crime; 1990s", (1, 3, 4)),
        Turn("Still missing <b>science fiction</b>.", "science fiction horror", (2, 5)),
    )
    tape = Tape((9, 8, 7, 6, 5), (False, False, True, True, False), (0.0, 0.0, -0.1, -0.2, 0.0), 2)
    good = Episode(
        Case(3, (6, 1), 2),
        turns,
        "Fear it is.",
        ("1. Alien (1979)", "2. Nowhere <i>land</i>"),
        (2, None),
        (2, 3, 1),
        (),
        Ending.ANSWERED,
        "",
        tape,
    )
    lost = Episode(Case(-1, (6,), 4), (Turn("", "x", ()),), "", (), (), (), ("answer_tags",), Ending.TOO_LONG, "")
    return [good, lost]


@pytest.fixture
def results() -> Results:
    def row(model: str, ndcg: float, **more: float) -> Row:
        metrics = {"ndcg@10": ndcg, "recall@10": 2 * ndcg, "mrr": ndcg / 2, **more}
        return Row(
            model=model,
            metrics=metrics,
            low={"ndcg@10": ndcg - 0.01},
            high={"ndcg@10": ndcg + 0.01},
            users=1000,
            seconds=5.0,
            peak_mb=512.0,
        )

    return Results(
        schema="fathom-results/1",
        command="fathom run recipes/demo.yaml",
        recipe="demo",
        commit="0123456789abcdef",
        versions={"numpy": "2.4.6", "torch": "2.13.0"},
        machine={"cores": "2", "processor": "A <fast> one"},
        seed=7,
        dataset=DatasetFacts(name="world", fingerprint="f00ba2", users=1500, items=1000, interactions=60_000, split="leave-one-out"),
        rows=[
            row("popularity", 0.05),
            row("retriever", 0.16),
            row("agent-stage2", 0.165, turns=2.4, format_valid=0.993, **{"strict_ndcg@10": 0.1642}),
            row("oracle", 0.22),
        ],
        comparisons=[
            Difference(
                a="agent-stage2", b="retriever", metric="ndcg@10", ratio=1.03125, difference=0.005, p=0.0213, low=0.0016, high=0.0084
            ),
            Difference(a="agent-stage2", b="popularity", metric="ndcg@10", ratio=None, difference=0.115, p=0.0002),
        ],
    )
