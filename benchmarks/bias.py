"""How much of a model's liking for what it is shown first is left in the order that comes out, and what it costs to be rid of it.

python benchmarks/bias.py                      2,000 people, lists of 20
python benchmarks/bias.py --bias 4 --people 500

The model is scripted. It knows something: the target is worth `--known` deviations more than another item, beside standard normal noise
that is drawn once for each person and item. And it is biased: the first item that it is shown is worth `--bias` more to it than the
last, those between in proportion; of two, the first by as much. The target stands at each of five places of the retriever's list; what
an unbiased way makes of it does not depend on which. The spread is the best of these five figures less the worst.
"""

import argparse

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from fathom.prompting.orders import WAYS, Ordered, Pair, Question, Said, WaySettings, Whole

N = 20
PLACES = (0, 5, 10, 15, 19)
WAYS_SHOWN: list[tuple[str, str, dict[str, bool | int]]] = [
    ("listwise, as the retriever has it", "listwise", {"shuffled": False}),
    ("listwise, 1 drawn order", "listwise", {"rounds": 1}),
    ("listwise, 3 drawn orders (bootstrapping)", "listwise", {"rounds": 3}),
    ("listwise, 10 drawn orders", "listwise", {"rounds": 10}),
    ("sliding windows of 10", "sliding", {}),
    ("all pairs, both orders", "pairwise", {}),
    ("heapsort, both orders; undecided pairs stay as the retriever has them", "heapsort", {}),
    ("one by one", "pointwise", {}),
]


def ask(way: str, settings: WaySettings, worth: np.ndarray, bias: float, draw: np.random.Generator) -> tuple[Ordered, int]:
    """The order that comes out, and how many questions were asked."""
    exchange, said, asked = WAYS[way](N, settings, draw), None, 0
    while True:
        try:
            questions = exchange.send(said) if said is not None else next(exchange)
        except StopIteration as over:
            return over.value, asked
        asked += len(questions)
        said = [answer(question, worth, bias) for question in questions]


def answer(question: Question, worth: np.ndarray, bias: float) -> Said:
    """What the scripted model says."""
    if isinstance(question, Whole):
        shown = np.array(question.shown)
        liked = worth[shown] + bias * np.linspace(1, 0, len(shown))
        return [int(place) for place in shown[np.argsort(-liked, kind="stable")]]
    if isinstance(question, Pair):
        return float(worth[question.first] + bias > worth[question.second])
    return float(worth[question.place])


def gain(found: Ordered, place: int) -> float:
    """NDCG@10, the mean over all orders of items with the target's score, as in every table of candidates."""
    scores = np.array(found.scores)
    first, tied = int((scores > scores[place]).sum()), int((scores == scores[place]).sum())
    return float(np.mean([1 / np.log2(rank + 2) if rank < 10 else 0.0 for rank in range(first, first + tied)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--known", type=float, default=2.0)
    parser.add_argument("--bias", type=float, default=2.0)
    options = parser.parse_args()
    console = Console(width=140)
    table = Table(
        "way", "questions", *(f"at {place}" for place in PLACES), "mean", "spread", title="NDCG@10 by the target's place in the list"
    )
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(options.people, N))
    for name, way, settings in track(WAYS_SHOWN, description="asking", console=console):
        figures, asked = [], 0
        for place in PLACES:
            gains = []
            for person in range(options.people):
                worth = np.roll(noise[person], place)  # the same people and noise whatever the place
                worth[place] += options.known
                draw = np.random.default_rng([person, place])
                found, asked = ask(way, WaySettings.model_validate(settings), worth, options.bias, draw)
                gains.append(gain(found, place))
            figures.append(float(np.mean(gains)))
        row = [f"{value:.3f}" for value in [*figures, float(np.mean(figures)), max(figures) - min(figures)]]
        table.add_row(name, str(asked), *row)
    console.print(table)


if __name__ == "__main__":
    main()
