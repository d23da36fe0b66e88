"""Conversations go their whole way: a planted habit is learned from others, what is asked about never is, and what was learned serves."""

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from commands import ran, work_of
from typer.testing import CliRunner
from worlds import Scripted

from fathom.cli import app
from fathom.errors import ConfigError
from fathom.evaluation.evaluate import Evaluation, evaluate
from fathom.evaluation.results import read
from fathom.pipeline.asking.workshop import AskingWorkshop
from fathom.pipeline.conversation.table import ConversationTable
from fathom.pipeline.conversation.workshop import ConversationWorkshop
from fathom.pipeline.methods import recipe_at

FILMS = 60
PEOPLE = 9


def written(folder: Path, *, planted: bool = True, turned: bool = False) -> Path:
    """Dialogues in which film n is followed by film n + 1 where the habit is planted; `turned`: the first person recommends otherwise."""
    folder.mkdir()
    rng, lines, named = np.random.default_rng(3), [], Counter[int]()
    for number in range(180):
        liked = int(rng.integers(FILMS))
        other = (liked + 1) % FILMS if planted else int(rng.integers(FILMS))
        recommender = number % PEOPLE
        if turned and recommender == 0:
            other = (liked + 30) % FILMS
        named.update((liked, other))
        said = [("s", f"Hi, I loved @{liked}"), ("r", f"Then see @{other}"), ("s", "Thanks!")]
        lines.append(
            {
                "conversationId": str(number),
                "initiatorWorkerId": 100 + number,
                "respondentWorkerId": recommender,
                "messages": [{"senderWorkerId": {"s": 100 + number, "r": recommender}[who], "text": text} for who, text in said],
            }
        )
    films = [
        f"{item},Film {chr(65 + item // 26)}{chr(65 + item % 26)} ({1950 + item}),{named[item] + 10 + item % 3}" for item in range(FILMS)
    ]
    (folder / "movies_with_mentions.csv").write_text("\n".join(["movieId,movieName,nbMentions", *films, ""]), encoding="utf-8")
    (folder / "test_data.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    return folder


def run(tmp_path: Path, data: Path, *settings: str, language: bool = False) -> ConversationWorkshop:
    text = f"method: conversation\nname: talk\nsource: {{name: {data}}}\nfolds: 3\nencoder: hashing\nlooked_at: 10\n"
    if language:
        text += (
            "language:\n  builtin: {parameters: 2.0e+6, vocabulary: 512, context: 256}\n  windows: {row: 128}\n"
            "  pretrain: {epochs: 2, batch_size: 8, precision: float32}\n"
        )
    recipe, folder = tmp_path / f"{data.name}.yaml", tmp_path / f"run-{data.name}"
    recipe.write_text(text, encoding="utf-8")
    ran(recipe, folder, *settings)
    return work_of(folder, ConversationWorkshop)


def test_a_planted_habit_is_learned_from_others_and_a_language_model_reads_along(tmp_path: Path) -> None:
    work = run(tmp_path, written(tmp_path / "planted"), language=True)
    results = read(work.run.folder / "results.json")
    figures = {row.model: row.metrics["recall@5"] for row in results.rows}
    assert list(figures) == ["popularity", "text", "by-hand", "named-alone", "said-alone", "conversation", "with-lm"]
    assert figures["conversation"] > 0.6 > 0.3 > figures["popularity"]
    assert figures["named-alone"] > 0.6 > 0.3 > figures["said-alone"], "the habit is in what was named"
    assert results.dataset.split.startswith("turns that recommend, 3 folds")

    # The language model re-orders the first ten and lets nothing in or out; alone is as in a batch.
    mixed, plain = ConversationTable(work).recommenders()["with-lm"](), work.listener("conversation")
    some = work.test_cases[:7]
    first = mixed.recommend(some, 10)
    assert [set(row) for row in first.items.tolist()] == [set(row) for row in plain.recommend(some, 10).items.tolist()]
    assert mixed.recommend(some[3:4], 10).items.tolist() == first.items[3:4].tolist()
    kept = Evaluation.load(work.folder("ranks") / "with-lm.parquet")
    assert np.array_equal(evaluate(mixed, work.test_cases).ranks, kept.ranks)

    told = CliRunner().invoke(app, ["chat", str(work.run.folder)], input="I loved Film AD (1953)\n", catch_exceptions=False)
    assert "Film AE (1954)" in told.stdout
    assert "goes with Film AD (1953)" in told.stdout

    shown = CliRunner().invoke(app, ["trace", str(work.run.folder), "--user", "0"], catch_exceptions=False)
    assert "Seeker: Hi, I loved Film" in shown.stdout, shown.output


def test_a_language_model_behind_an_address_orders_what_is_found_and_what_it_costs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(prompt: str, seed: int) -> list[str]:
        letters = re.findall(r"loved Film (\w+)", prompt)[-1]
        return [f"1. Film {letters[0]}{chr(ord(letters[1]) + 1)}"]

    monkeypatch.setattr(AskingWorkshop, "who_is_asked", Scripted(answer))
    endpoint = ["--set", "endpoint={base_url: 'http://127.0.0.1:9/v1', model: m, price_read: 2.0}"]
    asking = ["--set", "asked={llm: {shown: 10}, llm-some: {shown: 10, users: 30}}"]
    work = run(tmp_path, written(tmp_path / "planted"), *endpoint, *asking)
    results = read(work.run.folder / "results.json")
    llm, some, plain = (results.row(name) for name in ("llm", "llm-some", "conversation"))
    assert llm is not None
    assert some is not None
    assert plain is not None
    assert (llm.users, some.users) == (180, 30)
    assert llm.metrics["recall@1"] > plain.metrics["recall@1"], "it knows what comes next"
    assert llm.metrics["recall@10"] == plain.metrics["recall@10"], "of ten that are shown"
    assert llm.metrics["questions"] == 1
    assert llm.metrics["money"] > 0
    assert ("llm", "conversation") in {(one.a, one.b) for one in results.comparisons}
    shown = CliRunner().invoke(app, ["trace", str(work.run.folder), "--user", "0", "--model", "llm"], catch_exceptions=False)
    assert "The recommender can name these 10" in shown.stdout


def test_without_the_habit_nothing_is_learned(tmp_path: Path) -> None:
    work = run(tmp_path, written(tmp_path / "random", planted=False))
    figures = {row.model: row.metrics["recall@5"] for row in read(work.run.folder / "results.json").rows}
    assert figures["conversation"] < 0.25


def test_what_is_asked_about_is_never_learned_from(tmp_path: Path) -> None:
    """Other recommendations of one person leave everything alone that answers the fold in which that person recommends."""
    one, other = (run(tmp_path, written(tmp_path / name, turned=name == "turned"), "--until", "weights") for name in ("as-it-is", "turned"))
    fold = one.folds[0]
    assert one.folds == other.folds
    assert one.weights[str(fold)] == other.weights[str(fold)]
    assert any(one.weights[part] != other.weights[part] for part in one.parts if part != str(fold)), "elsewhere it is heard"
    turns = [turn.case for turn in one.turns if one.folds[turn.dialogue] == fold and turn.dialogue % PEOPLE]
    rankings = [work.listener("conversation").recommend(turns, 20) for work in (one, other)]
    assert turns
    assert np.array_equal(rankings[0].items, rankings[1].items)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("world: {}\n", "the built-in world does not talk"),
        ("source: {name: x}\nsplit: global-time\n", "leave sessions and split out"),
        ("source: {name: x}\nlearned: {text: [words]}\n", "learned.text: another row has this name"),
        ("source: {name: x}\nlearned: {mine: [words, words]}\n", "each once"),
        ("source: {name: x}\nlearned: {}\n", "learned has no row"),
        ("source: {name: x}\nlanguage: {model: gpt2}\n", "only the built-in model"),
        ("source: {name: x}\nasked: {llm: {}}\n", "nobody to ask"),
        ("source: {name: x}\nasked: {text: {}}\nendpoint: {base_url: u, model: m}\n", "asked.text: another row has this name"),
        ("source: {name: x}\nfolds: 2\n", "line 4"),
        ("source: {name: x}\nlearned: {mine: [word]}\n", "line 4"),
    ],
)
def test_a_recipe_that_cannot_be_is_told(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"method: conversation\nname: a\n{text}", encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        recipe_at(path)
    assert said in str(error.value)
