"""Items that nobody in training ever took: added afterwards by their texts alone, against the text recommender on the same questions.

python benchmarks/cold_items.py                            the built-in world, 26 minutes on a busy core
python benchmarks/cold_items.py --draws 1 --users 200      a quick look

A tenth of the items, drawn anew for each of the `--draws`, and everything that anybody did with them leave the training part. A model
of the size of `recipes/r2ec-world.yaml` learns from the rest without reasoning, half of the items of a batch without their titles, and
without a correction for popularity, of which a new item has none; then `add_items` encodes the new ones, without titles that it has
never read. Asked is who took a cold item last, or last but one: Recall@20 over the whole catalogue, seen items excluded, with a paired
bootstrap over users. Both know the items' texts, neither anything else about them.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from fathom.data.filters import only
from fathom.data.splits import leave_one_out
from fathom.data.world import WorldSettings, build_world
from fathom.evaluation.compare import compare
from fathom.evaluation.evaluate import evaluate
from fathom.items.embed import item_vectors
from fathom.items.encoders import encoder
from fathom.items.text import item_texts
from fathom.language.builtin import BuiltinSettings, build
from fathom.language.tokenizer import train_tokenizer
from fathom.pipeline.workshop import whole_histories
from fathom.reasoners.dual_head import DualHead
from fathom.reasoners.prompts import READ_TOKEN, READOUT, ReasonerSettings, event_lines, item_prompts
from fathom.reasoners.recommender import R2ec
from fathom.recommenders.textual import TextRecommender
from fathom.records import Case, Catalog, Floats, Ints
from fathom.training.contrastive import ContrastiveSettings, match
from fathom.training.pretrain import WindowSettings, pretrain
from fathom.training.run import Run
from fathom.training.supervised import FitSettings

REASONER = ReasonerSettings(history_length=40, reasoning_tokens=0, prompt_tokens=200, item_tokens=80, description_words=0)


def part(catalog: Catalog, items: list[int]) -> Catalog:
    """The chosen items of a catalogue, in that order."""
    return Catalog(
        tuple(catalog.names[item - 1] for item in items),
        tuple(catalog.titles[item - 1] for item in items),
        {name: tuple(column[item - 1] for item in items) for name, column in catalog.attributes.items()},
        tuple(catalog.descriptions[item - 1] for item in items) if catalog.descriptions else (),
    )


def asked_about(seed: int, given: argparse.Namespace) -> tuple[dict[str, Floats], Ints]:
    """Train on the warm items, add the cold ones; per model the Recall@20 of every question whose item is new, and who was asked."""
    dataset = build_world(WorldSettings(films=given.films, users=given.users)).dataset
    split = leave_one_out(dataset.interactions)
    cold = np.random.default_rng(seed).choice(dataset.catalog.n_items, size=dataset.catalog.n_items // 10, replace=False) + 1
    trained = only(replace(dataset, interactions=split.train), ~np.isin(split.train.items, cold), "a tenth of the items held out")
    place = {name: item for item, name in enumerate(trained.catalog.names, start=1)}
    new = [item for item, name in enumerate(dataset.catalog.names, start=1) if name not in place]
    print(f"{trained.notes[-1]}; {len(new)} items are new afterwards")

    histories = whole_histories(trained.interactions)
    events = [event_lines(case, trained.catalog, REASONER) for case in histories]
    corpus = [*(event for history in events for event in history), *item_prompts(trained.catalog, REASONER), *item_texts(trained.catalog)]
    tokenizer = train_tokenizer(corpus, 3072, markers=(READOUT, READ_TOKEN))
    settings = BuiltinSettings(parameters=2.0e6, vocabulary=3072, context=512, title_vectors=True)
    vectors = item_vectors(trained.catalog, encoder("hashing"), None)
    policy = build(settings, tokenizer, seed=42, titles=trained.catalog.titles, vectors=vectors[1:])
    muon = FitSettings(epochs=3, batch_size=8, learning_rate=2e-3, optimizer="muon", average=0.99)
    head_fit = muon.model_copy(update={"epochs": given.epochs, "batch_size": 16, "learning_rate": 7e-4})
    windows = WindowSettings(row=256, overlap=0.25)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        pretrain(policy, events, texts=item_texts(trained.catalog), windows=windows, settings=muon, run=run, stage="lm")
        head = DualHead(policy, trained.catalog, REASONER)
        matching = ContrastiveSettings(fit=head_fit, untitled=given.untitled, popularity=given.popularity)
        match(head, histories, trained.catalog, settings=matching, run=run, stage="match")
    model = R2ec(head, trained.catalog, budget=0)
    added = model.add_items(part(dataset.catalog, new), titled=not given.untitled)
    place |= {dataset.catalog.names[item - 1]: number for item, number in zip(new, added, strict=True)}
    moved = [0, *(place[name] for name in dataset.catalog.names)]

    def renumbered(case: Case) -> Case:
        return replace(case, history=tuple(moved[item] for item in case.history), target=moved[case.target])

    asked = [renumbered(case) for case in (*split.valid, *split.test) if case.target in set(new)]
    text = TextRecommender(item_vectors(model.catalog, encoder(given.encoder), None))
    found = {name: evaluate(recommender, asked) for name, recommender in (("r2ec", model), ("text", text))}
    return {name: evaluation.per_case("recall@20") for name, evaluation in found.items()}, found["text"].users


def main() -> None:
    """Print both recalls over all draws and their paired comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=600)
    parser.add_argument("--users", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=2, help="of matching")
    parser.add_argument("--untitled", type=float, default=0.5, help="share of a batch's items that are read without their titles")
    parser.add_argument("--popularity", type=float, default=0.0, help="how much matching corrects for it: a new item has none yet")
    parser.add_argument("--encoder", default="minilm", help="of the text recommender: minilm, hashing or st:NAME")
    parser.add_argument("--draws", type=int, default=2, help="how many tenths of the items are drawn, by the seeds 0, 1 ...")
    given = parser.parse_args()
    parts = [asked_about(seed, given) for seed in range(given.draws)]
    users = np.concatenate([asked for _, asked in parts])
    recalls = {name: np.concatenate([found[name] for found, _ in parts]) for name in ("r2ec", "text")}
    told = compare(recalls["r2ec"], recalls["text"], users)
    for name, values in recalls.items():
        each = ", ".join(f"{found[name].mean():.3f}" for found, _ in parts)
        print(f"{name:5} Recall@20 {values.mean():.4f} of {len(users)} questions whose item is new ({each} of each draw)")
    ratio = f"{told.ratio:.2f}" if told.ratio is not None else "without bound"
    print(f"ratio {ratio}, difference {told.difference:+.4f} [{told.low:+.4f}, {told.high:+.4f}], p {told.p:.3f}")


if __name__ == "__main__":
    main()
