"""Candidate lists go their whole way: named models and a language model put them in order; what was said is kept, ties are evened out."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from commands import ran
from stored import stored_protocol
from typer.testing import CliRunner

from fathom.cli import app
from fathom.data import candidates
from fathom.errors import ConfigError
from fathom.evaluation.evaluate import Evaluation, evaluate
from fathom.evaluation.results import Results, read
from fathom.metrics import ndcg
from fathom.pipeline.methods import opened, recipe_at
from fathom.pipeline.ranking.stages import lay_out
from fathom.pipeline.ranking.workshop import RankingWorkshop
from fathom.prompting.rank import RankedCandidates
from fathom.recommenders.among import Kept
from fathom.records import Case

LANGUAGE = {
    "builtin": {"parameters": 2.0e6, "vocabulary": 1024, "context": 512},
    "pretrain": {"epochs": 1, "batch_size": 16, "precision": "float32"},
}
RECIPE: dict[str, object] = {
    "method": "ranking",
    "name": "tiny",
    "world": {"films": 60, "users": 40, "events": 9},
    "valid_users": 4,
    "candidates": {"protocol": "has-target", "size": 10},
    "models": {
        "popularity": None,
        "bm25": None,
        "item-knn": {"neighbours": 7},
        "sasrec+": {"model": {"width": 16, "length": 8}, "fit": {"epochs": 1, "batch_size": 16}},
    },
    "encoder": "hashing",
    "language": LANGUAGE,
    "asked": {
        "titles": {"prompts": "compact", "answers": "likelihoods"},
        "words": {"users": 5, "reply_tokens": 12, "prompt_tokens": 400, "asking": {"rounds": 2}},
        "pairs": {"users": 3, "prompts": "compact", "answers": "likelihoods", "way": "heapsort"},
    },
}


def written(folder: Path, **changes: object) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE | changes), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranking")
    ran(written(folder), folder / "run")
    return folder / "run"


def opened_run(folder: Path) -> RankingWorkshop:
    work = opened(folder)
    assert isinstance(work, RankingWorkshop)
    return work


def test_everybody_is_given_the_same_lists_and_the_table_says_which(run: Path) -> None:
    results, work = read(run / "results.json"), opened_run(run)
    assert [row.model for row in results.rows][:6] == ["chance", "as-offered", "popularity", "bm25", "item-knn", "sasrec+"]
    assert {row.model: row.users for row in results.rows if row.model in ("titles", "words", "pairs")} == {
        "titles": 40,
        "words": 5,
        "pairs": 3,
    }
    assert results.dataset.ranked.startswith("10 candidates (what came next among random items; 100.0% of the lists hold what came next)")
    assert "seen items excluded" not in results.dataset.split
    for name in ("popularity", "titles"):
        evaluation = Evaluation.load(run / "ranks" / f"{name}.parquet")
        for user, items in zip(evaluation.users.tolist(), evaluation.items.tolist(), strict=True):
            assert {item for item in items if item} == set(work.lists[user])
    compared = {(one.a, one.b) for one in results.comparisons}
    assert {("titles", other) for other in ("popularity", "bm25", "sasrec+", "as-offered")} <= compared
    assert {("words", "bm25"), ("bm25", "popularity")} <= compared


def test_the_page_is_about_who_asks_about_everybody(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    assert '<tr class="agent"><th scope="row">titles</th>' in page


def test_chance_is_exact(run: Path) -> None:
    row = read(run / "results.json").row("chance")
    assert row is not None
    gains = 1 / np.log2(np.arange(1, 11) + 1)
    for cutoff in (1, 5, 10):  # one of ten, every place alike
        assert row.metrics[f"ndcg@{cutoff}"] == pytest.approx(gains[:cutoff].sum() / 10)
    assert [round(100 * float((1 / np.log2(np.arange(1, k + 1) + 1)).sum()) / 20, 1) for k in (1, 5, 10, 20)] == [5.0, 14.7, 22.7, 35.2]


def test_popularity_among_candidates_is_worked_out_by_hand_and_ties_are_evened_out(run: Path) -> None:
    work, counts = opened_run(run), opened_run(run).counts
    by_hand = []
    for case in work.test_cases:
        own = counts[case.target]
        above = sum(counts[item] > own for item in work.lists[case.user])
        tied = sum(counts[item] == own for item in work.lists[case.user])
        by_hand.append(np.mean([ndcg(np.array([above + place]), 10)[0] for place in range(1, tied + 1)]))
    row = read(run / "results.json").row("popularity")
    assert row is not None
    assert row.metrics["ndcg@10"] == pytest.approx(float(np.mean(by_hand)))


def test_what_was_said_is_kept_and_what_it_cost_is_told(run: Path) -> None:
    work, results = opened_run(run), read(run / "results.json")
    words, row = work.said("words", RankedCandidates), results.row("words")
    assert row is not None
    assert len(words) == 5
    assert all("can be recommended next:" in one.prompt and one.tally["questions"] == 2 for one in words)
    assert row.metrics["questions"] == 2
    assert row.metrics["tokens"] <= 24 < row.metrics["context_tokens"]
    assert 0 <= row.metrics["compliant"] <= row.metrics["unreadable"] + row.metrics["compliant"] <= 1
    tally = sum((Counter(one.tally) for one in words), Counter[str]())
    assert row.metrics["compliant"] == tally["compliant"] / tally["questions"]
    assert row.metrics["unreadable"] == tally["unreadable"] / tally["questions"]
    for name, key in (("invalid", "unknown"), ("duplicate", "repeated"), ("missing", "missing")):
        assert row.metrics[f"{name}_items"] == tally[key] / tally["lines"]
    assert row.metrics["missing_items"] > 0
    titles = results.row("titles")
    assert titles is not None
    assert (titles.metrics["questions"], titles.metrics["tokens"], titles.metrics["compliant"]) == (1, 0, 1)


def test_biases_by_place_and_by_popularity_are_what_they_are_by_hand(tmp_path: Path) -> None:
    drawn = {"protocol": "has-target", "size": 20}
    world = {"films": 80, "users": 150, "events": 9}
    ran(written(tmp_path, world=world, candidates=drawn, asked={}, language=None, models={"popularity": None}), tmp_path / "run")
    work, results = opened_run(tmp_path / "run"), read(tmp_path / "run" / "results.json")
    rows = {row.model: row.metrics for row in results.rows}
    for place in (0, 5, 10, 15, 19):
        expected = 1 / np.log2(place + 2) if place < 10 else 0.0
        assert rows["as-offered"][f"ndcg@10/shown={place}"] == pytest.approx(expected), "the list as it is puts the target where it stands"
    assert [round(100 * rows["chance"][f"ndcg@{k}"], 1) for k in (1, 5, 10, 20)] == [5.0, 14.7, 22.7, 35.2]
    lists = [work.lists[case.user] for case in work.test_cases]
    for rank in (1, 5, 10, 20):
        for name, order in (("as-offered", lists), ("popularity", [sorted(items, key=lambda item: -work.counts[item]) for items in lists])):
            by_hand = np.mean([work.counts[items[rank - 1]] for items in order])
            assert rows[name][f"popularity/rank={rank}"] == pytest.approx(by_hand)
    assert rows["popularity"]["popularity/rank=1"] > 2 * rows["popularity"]["popularity/rank=20"]
    assert rows["chance"]["popularity/target"] == pytest.approx(np.mean([work.counts[case.target] for case in work.test_cases]))


def test_a_judgement_that_was_stopped_asks_for_the_rest_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (run / "results.json").read_bytes()
    [file] = run.glob("asked/titles@*.gz")
    kept = file.read_bytes()
    (run / "ranks" / "titles.parquet").unlink()
    monkeypatch.setattr("fathom.prompting.rank.PromptedRanker.rank", lambda *given: pytest.fail("nothing is asked twice"))
    again = CliRunner().invoke(app, ["evaluate", str(run), "--model", "titles"], catch_exceptions=False)
    assert again.exit_code == 0, again.stdout
    assert file.read_bytes() == kept
    assert read(run / "results.json").rows == Results.model_validate_json(before).rows


def test_retrieved_lists_hold_what_the_retrievers_find_and_nothing_seen(tmp_path: Path) -> None:
    retrieved = {"protocol": "retrieved", "retrievers": ["bm25", "popularity", "chance"], "size": 8}
    ran(written(tmp_path, candidates=retrieved, asked={}, language=None), tmp_path / "run")
    results = read(tmp_path / "run" / "results.json")
    work = opened_run(tmp_path / "run")
    best = {name: work.model(name).recommend(work.test_cases, 100).items for name in ("bm25", "popularity")}
    strangers = []
    for place, case in enumerate(work.test_cases):
        items = work.lists[case.user]
        assert len(set(items)) == 8
        assert not set(items) & set(case.history)
        assert best["bm25"][place, 0] in items
        assert best["popularity"][place, 0] in items
        strangers.append(bool(set(items) - {*best["bm25"][place, :12].tolist(), *best["popularity"][place, :12].tolist()}))
    assert np.mean(strangers) > 0.5, "chance has brought in others"
    share = candidates.ceiling(work.test_cases, work.lists)
    assert f"what bm25, popularity and chance find; {share:.1%} of the lists hold" in results.dataset.ranked
    assert all(row.metrics["recall@10"] <= share + 1e-9 for row in results.rows)


def test_seven_retrievers_fill_a_list_and_what_came_next_plays_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"fit": {"epochs": 1, "batch_size": 16}}
    seven: dict[str, object] = {
        "bm25": None,
        "text": {"encoder": "hashing"},
        "popularity": None,
        "bpr": {"factors": 8, "epochs": 5},
        "gru4rec": {"width": 16, **small},
        "sasrec": {"model": {"width": 16, "length": 8}, **small},
    }
    retrieved = {"protocol": "retrieved", "retrievers": ["chance", *seven], "size": 21, "depth": 30}
    ran(written(tmp_path, models=seven, candidates=retrieved, asked={}, language=None), tmp_path / "run")
    work = opened_run(tmp_path / "run")
    found = [work.model(name).recommend(work.test_cases, 30).items.tolist() for name in seven]
    strangers = candidates.random_items(work.test_cases, work.catalog.n_items, 30, seed=work.recipe.seed)
    for place, case in enumerate(work.test_cases):
        best = (strangers[case.user], *(one[place] for one in found))
        ranked = [[item for item in rows if item and item not in case.history] for rows in best]
        earned = {item: sum(1 / (61 + rows.index(item)) for rows in ranked if item in rows) for item in work.lists[case.user]}
        assert len(earned) == 21
        assert {rows[0] for rows in ranked} <= set(earned), "each has its best in it"
        assert list(earned.values()) == pytest.approx(sorted(earned.values(), reverse=True))
    before = dict(work.lists)
    again = opened_run(tmp_path / "run")
    monkeypatch.setitem(again.__dict__, "test_cases", tuple(replace(case, target=1, later=()) for case in work.test_cases))
    lay_out(again)
    assert candidates.load(again.lists_file) == before


def test_stored_lists_go_their_whole_way_and_a_missing_one_is_told(tmp_path: Path) -> None:
    folder = stored_protocol(tmp_path / "games")
    changes = {"world": None, "source": {"name": str(folder)}, "split": "given", "candidates": {"protocol": "stored"}, "valid_users": 2}
    recipe = written(tmp_path, **changes, models={"popularity": None}, asked={}, language=None)
    ran(recipe, tmp_path / "run")
    work = opened_run(tmp_path / "run")
    names, users = work.catalog.names, work.dataset.interactions.users
    told = {users[user]: [names[item - 1] for item in items] for user, items in work.lists.items()}
    assert told == {"9": ["6", "8"], "5": ["8", "7"], "7": ["1", "8"]}
    assert read(tmp_path / "run" / "results.json").dataset.ranked.startswith("2 candidates (the stored list of each user; 100.0%")
    kept = pl.read_parquet(folder / "candidates.parquet")
    kept.filter(pl.col("user") != 7).write_parquet(folder / "candidates.parquet")
    with pytest.raises(ConfigError, match=r"1 of 3 test users have no stored list \(the first is '7'\)"):
        ran(recipe, tmp_path / "again")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"language": None}, "asked has rows, but nobody to ask"),
        ({"endpoint": {"base_url": "http://localhost:1/v1", "model": "m"}}, "language and endpoint are both there"),
        (
            {"language": None, "endpoint": {"base_url": "http://localhost:1/v1", "model": "m"}},
            r"asked\.\w+: an endpoint tells no likelihoods: write answers: words",
        ),
        ({"asked": {"bm25": {}}}, "asked.bm25: another row has this name"),
        ({"asked": {"mine": {"stratgy": "x"}}}, "unknown setting 'asked.mine.stratgy'; did you mean 'strategy'"),
        ({"candidates": {"protocol": "retrieved", "retrievers": ["bm52"]}}, "candidates.retrievers names 'bm52'; did you mean 'bm25'"),
        ({"candidates": {"protocol": "retrieved"}}, "candidates.retrievers and protocol: retrieved go together"),
        ({"windows": {}}, "windows of time and candidate lists do not go together"),
    ],
)
def test_recipes_that_cannot_be(change: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        recipe_at(written(tmp_path, **change))


@pytest.mark.parametrize(
    ("lists", "said"),
    [({}, "needs a source that has lists"), ({"protocol": "has-target", "size": 60}, "59 negatives for user 0, but only")],
)
def test_lists_that_cannot_be(lists: dict[str, object], said: str, tmp_path: Path) -> None:
    recipe = written(tmp_path, candidates=lists, asked={}, language=None)
    with pytest.raises(ConfigError, match=said):
        ran(recipe, tmp_path / "run")


def test_ties_are_means_over_all_their_orders() -> None:
    cases = [Case(0, (), 3), Case(1, (), 3), Case(2, (), 9)]
    orders = dict.fromkeys(range(3), ((5, 3, 4, 6), (2.0, 1.0, 1.0, 0.0)))
    told = evaluate(Kept(orders), cases, depth=10, even_ties=True)
    assert told.ranks.tolist() == [2, 2, 0]
    assert told.ties is not None
    assert told.ties.tolist() == [2, 2, 0]
    expected = (1 / np.log2(3) + 1 / np.log2(4)) / 2
    assert told.per_case("ndcg@10").tolist() == pytest.approx([expected, expected, 0.0])
    assert told.per_case("recall@2").tolist() == [0.5, 0.5, 0.0]
    plain = evaluate(Kept(orders), cases, depth=10)
    assert plain.ties is None
    assert plain.per_case("ndcg@10").tolist() == pytest.approx([1 / np.log2(3)] * 2 + [0.0])


def test_ties_are_kept_in_files_parts_and_joins(tmp_path: Path) -> None:
    cases = [Case(user, (), 3) for user in range(4)]
    told = evaluate(Kept(dict.fromkeys(range(4), ((1, 3), (0.0, 0.0)))), cases, depth=10, even_ties=True)
    told.save(tmp_path / "ranks.parquet")
    loaded = Evaluation.load(tmp_path / "ranks.parquet")
    joined = Evaluation.joined([loaded.subset(np.array([0, 1])), loaded.subset(np.array([2, 3]))])
    for one in (loaded, joined):
        assert one.per_case("ndcg@10").tolist() == told.per_case("ndcg@10").tolist() == pytest.approx([(1 + 1 / np.log2(3)) / 2] * 4)
