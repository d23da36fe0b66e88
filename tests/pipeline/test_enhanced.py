"""A language model that knows something writes it down, and its readers are better for it; shuffled texts, or babble, are worth nothing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import ran, work_of
from prompted import titles_of
from worlds import Scripted

from fathom.errors import ConfigError
from fathom.evaluation.results import Results, read
from fathom.pipeline.asking.workshop import AskingWorkshop
from fathom.pipeline.enhanced.workshop import EnhancedWorkshop
from fathom.pipeline.methods import recipe_at
from fathom.recommenders.preceded import Preceded, preceded_by
from fathom.records import Case, Interactions, Ranking

GROUPS = ("submarine", "vineyard", "chess", "volcano", "circus", "desert", "orchestra", "glacier")
ITEMS = 96


def name_of(item: int) -> str:
    """A title that says nothing of the item's group."""
    rng = np.random.default_rng(item)
    return "".join(rng.choice(list("bdfgklmnprstvz"), 3)).capitalize() + "".join(rng.choice(list("aeiou"), 2)) + f" {item}"


def shop(folder: Path) -> Path:
    """People who stay within one of eight groups, of which neither titles nor attributes say anything; some have few events."""
    folder.mkdir()
    rng, lines = np.random.default_rng(1), ["user,item,timestamp"]
    for user in range(160):
        group = rng.permutation(ITEMS // 8)[: 4 if user % 2 else 8] * 8 + user % 8
        lines += [f"u{user},i{item},{time}" for time, item in enumerate(group.tolist())]
    (folder / "interactions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    items = [f"i{item},{name_of(item)}" for item in range(ITEMS)]
    (folder / "items.csv").write_text("\n".join(["item,title", *items, ""]), encoding="utf-8")
    return folder


def knowing() -> Scripted:
    """Knows the group of everything, and says it in the words that it is asked for."""
    groups = {name_of(item): GROUPS[item % 8] for item in range(ITEMS)}

    def answer(prompt: str, seed: int) -> Sequence[str]:
        if prompt.startswith("This is"):
            group = groups[prompt.splitlines()[0].partition(": ")[2]]
        else:
            group = groups[titles_of(prompt.partition("oldest first:\n")[2].partition("\n\n")[0])[-1]]
        return [f"Summary: Something about a {group}.\nTags: {group}, other"]

    return Scripted(answer)


def compared(
    folder: Path, policy: Scripted, monkeypatch: pytest.MonkeyPatch, models: dict[str, object], **changes: object
) -> tuple[Results, EnhancedWorkshop]:
    if not (folder / "shop").is_dir():
        shop(folder / "shop")
    number = len(list(folder.glob("*.yaml")))
    recipe: dict[str, object] = {
        "method": "enhanced",
        "name": "tiny",
        "source": {"name": str(folder / "shop")},
        "encoder": "hashing",
        "models": models,
        "endpoint": {"base_url": "http://127.0.0.1:9/v1", "model": "scripted", "price_written": 1.0},
    }
    path = folder / f"{number}.yaml"
    path.write_text(yaml.safe_dump(recipe | changes), encoding="utf-8")
    monkeypatch.setattr(AskingWorkshop, "who_is_asked", policy)
    out = folder / f"run{number}"
    ran(path, out)
    return read(out / "results.json"), work_of(out, EnhancedWorkshop)


TEXT = {"text": {"encoder": "hashing"}, "text_written": {"encoder": "hashing"}}


def test_what_is_known_of_items_helps_whoever_reads_it_and_shuffled_it_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, work = compared(tmp_path, knowing(), monkeypatch, TEXT, readers=["text_written"])
    figures = {row.model: row.metrics for row in results.rows}
    assert figures["text_written"]["recall@10"] > 0.8 > 0.3 > figures["text"]["recall@10"]
    assert {(one.a, one.b) for one in results.comparisons} >= {("text_written", "text")}
    assert figures["text_written"]["questions"] == ITEMS
    assert figures["text_written"]["unreadable"] == 0
    written = figures["text_written"]["tokens_written"]
    assert figures["text_written"]["money"] == pytest.approx(written / 1e6)
    assert "questions" not in figures["text"]
    assert work.read_catalog.attributes["tags"][0] == ("submarine", "other")
    assert work.catalog.attributes == {}, "whoever does not read sees the catalogue as it is"

    shuffled, _ = compared(tmp_path, knowing(), monkeypatch, TEXT, readers=["text_written"], shuffled=True)
    control = {row.model: row.metrics["recall@10"] for row in shuffled.rows}
    assert control["text_written"] < 0.4
    assert control["text"] == figures["text"]["recall@10"]


def test_babble_is_counted_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, work = compared(tmp_path, Scripted(["Well"]), monkeypatch, TEXT, readers=["text_written"], pseudo={})
    figures = {row.model: row.metrics for row in results.rows}
    assert figures["text_written"]["unreadable"] == 1
    assert figures["text_written"]["ndcg@10"] == figures["text"]["ndcg@10"]
    assert work.before == {}


def test_short_histories_are_made_longer_by_what_is_known_of_the_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = {"item-knn": {"neighbours": 20}, "item-knn_written": {"neighbours": 20}}
    results, work = compared(tmp_path, knowing(), monkeypatch, models, readers=["item-knn_written"], pseudo={"shorter": 5, "items": 3})
    assert len(work.before) == 80, "half of the people have few events"
    train = work.split.train
    for user, items in work.before.items():
        assert not set(items) & set(train.history(user).tolist())
        assert {int(work.catalog.names[item - 1][1:]) % 8 for item in items} == {int(train.users[user][1:]) % 8}, (
            "of the group that was told"
        )
    tests = {case.user: case.target for case in work.test_cases}
    assert any(tests[user] in items for user, items in work.before.items()), "what is put before may come next"
    figures = {row.model: row.metrics for row in results.rows}
    assert figures["item-knn_written"]["questions"] == ITEMS + 80
    model = work.model("item-knn_written")
    assert isinstance(model, Preceded)
    found = model.recommend(work.test_cases, 20)
    assert all(not set(row) & set(case.history) for row, case in zip(found.items.tolist(), work.test_cases, strict=True))
    hit = [
        case.target in row
        for case, row in zip(work.test_cases, found.items.tolist(), strict=True)
        if tests[case.user] in work.before.get(case.user, ())
    ]
    assert np.mean(hit) > 0.9, "and is recommended"


def test_a_stopped_run_pays_for_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, work = compared(tmp_path, knowing(), monkeypatch, TEXT, readers=["text_written"])
    file = tmp_path / "run0" / "stages.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"done": true', '"done": false'), encoding="utf-8")
    silent = Scripted(lambda prompt, seed: pytest.fail("nothing is asked twice"))
    monkeypatch.setattr(AskingWorkshop, "who_is_asked", silent)
    ran(tmp_path / "0.yaml", work.run.folder)


def test_a_log_and_a_case_with_items_before_them_by_hand() -> None:
    log = Interactions(
        ("a", "b", "c"), np.array([0, 2, 3, 3]), np.array([1, 2, 3]), np.array([5, 4, 3], dtype=np.float32), np.array([9, 10, 11])
    )
    longer = preceded_by(log, {1: (7, 8), 2: (9,)})
    assert longer.offsets.tolist() == [0, 2, 5, 6]
    assert longer.items.tolist() == [1, 2, 7, 8, 3, 9]
    assert longer.times is not None
    assert longer.times.tolist() == [9, 10, -1, -1, 11, -1]
    assert np.isnan(longer.ratings).tolist() == [False, False, True, True, False, True]  # type: ignore[arg-type]
    case = Preceded.case(Case(1, (3,), 4, ratings=(3.0,), times=(11,)), {1: (7, 8)})
    assert case.history == (7, 8, 3)
    assert case.times == (-1, -1, 11)

    class Counting:
        """Recommends 1, 2, 3, ... to everybody, whatever they had."""

        def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
            assert not exclude_history
            rows = np.tile(np.arange(1, k + 1), (len(cases), 1))
            return Ranking(rows, -rows.astype(np.float32))

    found = Preceded(Counting(), {1: (1,)}).recommend([Case(1, (2, 3), 9), Case(5, (1,), 9)], 3)
    assert found.items.tolist() == [[1, 4, 5], [2, 3, 4]], "what was put before is no history"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"endpoint": None}, "nobody is there to write"),
        ({"readers": ["texts"]}, "did you mean 'text'?"),
        ({"readers": []}, "readers names none"),
        ({"mixed": {"both": ["text", "text"]}}, "leave them out"),
    ],
)
def test_a_recipe_that_cannot_be_is_told(change: dict[str, object], said: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    values = {"method": "enhanced", "name": "a", "world": {}, "models": {"text": None}, "readers": ["text"]}
    path.write_text(yaml.safe_dump(values | {"endpoint": {"base_url": "http://x/v1", "model": "m"}} | change), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        recipe_at(path)
    assert said in str(error.value)
