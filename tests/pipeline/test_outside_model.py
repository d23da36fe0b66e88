"""A language model from a folder goes the same way as the built-in one: its own tokenizer, the long prompt, all weights or adapters."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from outside import save_tiny_qwen2
from rich.console import Console

from fathom.agents.protocol import HISTORY_OPEN, history_lines
from fathom.data.world import WorldSettings, build_world
from fathom.evaluation.evaluate import Evaluation
from fathom.evaluation.results import read
from fathom.evaluation.said import load_said, save_said
from fathom.language.policy import LocalPolicy
from fathom.pipeline.ask import recommender_of
from fathom.pipeline.deeprec.recipe import DeepRecRecipe
from fathom.pipeline.deeprec.stages import STAGES
from fathom.pipeline.deeprec.table import DeepRecTable
from fathom.pipeline.deeprec.workshop import AGENTS, DeepRecWorkshop
from fathom.pipeline.judge import summarise
from fathom.pipeline.stages import perform
from fathom.recommenders.language import LanguageRecommender
from fathom.records import Case, Ending, Episode
from fathom.training.pretrain import WindowSettings
from fathom.training.run import Run

FILMS = WorldSettings(films=60, users=24, events=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen2(tmp_path_factory.mktemp("outside") / "tiny-qwen2", build_world(FILMS).dataset.catalog)


def recipe(folder: Path, *, lora: int) -> DeepRecRecipe:
    fit = {"epochs": 1, "batch_size": 8, "learning_rate": 3e-3, "precision": "float32"}
    stage = {"steps": 1, "prompts": 2, "samples": 2, "micro_batch": 2, "learning_rate": 1e-5, "preflight": "warn"}
    return DeepRecRecipe.model_validate(
        {
            "name": "outside",
            "world": FILMS,
            "valid_users": 4,
            "test_users": 6,
            "encoder": "hashing",
            "hold_out": {"share": 0.3, "most": 3},
            "sasrec": {"model": {"width": 16, "length": 16}, "fit": {**fit, "batch_size": 4}},
            "retriever": {"model": {"width": 16, "length": 16}, "fit": {**fit, "batch_size": 4}, "texts_per_item": 2},
            "retriever_refit": fit,
            "language": {
                "model": str(folder),
                "lora": lora,
                "windows": {"row": 256, "rows_at_once": 8},
                "pretrain": fit,
                "refit": fit,
            },
            "protocol": {
                "prompt": "long",
                "history_length": 5,
                "items_per_call": 12,
                "max_calls": 2,
                "segment_tokens": 150,
                "trajectory_tokens": 2400,
                "prompt_tokens": 1600,
            },
            "traces": {"most": 8, "missed": 1.0},
            "imitate": {"fit": fit, "histories": 0.1},
            "stage1": stage,
            "stage2": stage,
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize("lora", [0, 4])
def test_a_model_from_a_folder_goes_through_every_stage(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: int) -> None:
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    made = recipe(folder, lora=lora)
    work = DeepRecWorkshop(made, Run(tmp_path), command="test")
    perform(STAGES, work, made, Run(tmp_path), until="", console=Console(quiet=True))
    results = read(tmp_path / "results.json")
    for name in ("lm", "mix", "agent-warm", "agent-stage1", "agent-stage2", "agent", "agent-scored"):
        row = results.row(name)
        assert row is not None
        assert row.users == 6
    for name in ("mix", "agent", "agent-scored"):  # whoever asks for a row of the table gets what was judged
        asked = recommender_of(DeepRecTable(work), name).recommend(work.test_cases, 20)
        assert asked.items.tolist() == Evaluation.load(tmp_path / "ranks" / f"{name}.parquet").items.tolist()
    assert (tmp_path / "agent" / "adapter_config.json").is_file() == bool(lora)
    kept = tmp_path / "episodes" / "agent-stage2.jsonl.gz"
    episodes = load_said(kept, Episode)
    assert len(episodes) == 6
    lists = {"agent-stage2": [set(one.answer) for one in episodes], "agent-stage2-scored": [set(one.scored[:10]) for one in episodes]}
    for name, listed in lists.items():
        readings = DeepRecTable(work).readings(name)
        found = [one.outcome == "hit" for one in readings]
        for one, reading, items, hit in zip(episodes, readings, listed, found, strict=True):
            assert reading.case == one.case
            assert reading.written == sum(one.tape.sampled)  # type: ignore[union-attr]
            if one.ending is Ending.ANSWERED and one.answer:
                assert hit == (one.case.target in items), f"{name} is read by its own list"
        if name.endswith("-scored"):
            assert not any("Final list" in reading.card("a") for reading in readings)

    # One conversation is won by its own answer: the strict comparison shows it, the one of what is served knows only the kept ranks.
    won = replace(episodes[0], answer=(episodes[0].case.target,), ending=Ending.ANSWERED, faults=())
    save_said(kept, [won, *(replace(episode, ending=Ending.UNREADABLE) for episode in episodes[1:])])
    again = summarise(DeepRecTable(work), command="test")
    strict = {(told.a, told.b): told for told in again.comparisons if told.metric == "strict_ndcg@10"}
    agents = [(f"{agent}{finish}", f"agent-warm{finish}") for finish in ("", "-scored") for agent in AGENTS[1:]]
    assert list(strict) == agents
    for (a, b), told in strict.items():
        trained, begun = again.row(a), again.row(b)
        assert trained is not None
        assert begun is not None
        assert told.difference == pytest.approx(trained.metrics[told.metric] - begun.metrics[told.metric])
    begun = again.row("agent-warm")
    assert begun is not None
    assert strict["agent-stage2", "agent-warm"].difference == pytest.approx(1 / 6 - begun.metrics["strict_ndcg@10"])
    assert [told for told in again.comparisons if told.metric == "ndcg@10"] == [
        told for told in results.comparisons if told.metric == "ndcg@10"
    ]


def plain_score(policy: LocalPolicy, prompt: str, line: str) -> float:
    """log p(line | prompt) by transformers alone, one text at a time."""
    before, after = policy.encode(prompt), policy.encode(line)
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([[*before, *after]])).logits[0, len(before) - 1 : -1]
    return float(logits.log_softmax(-1)[torch.arange(len(after)), torch.tensor(after)].sum())


def test_titles_of_many_tokens_are_ranked_by_their_plain_likelihood(folder: Path) -> None:
    policy = LocalPolicy.load(folder)
    catalog = build_world(FILMS).dataset.catalog
    assert np.mean([len(policy.encode(title + "\n")) for title in catalog.titles]) > 4
    cases = [Case(0, (3, 8), 5), Case(1, (7,), 5)]
    prompts = [HISTORY_OPEN + "".join(catalog.title(item) + "\n" for item in case.history) for case in cases]
    shown = dict(zip(cases, prompts, strict=True))
    ranking = LanguageRecommender(policy, catalog, shown.__getitem__).recommend(cases, 10)
    for row, case in enumerate(cases):
        scores = {item: plain_score(policy, prompts[row], catalog.title(item) + "\n") for item in range(1, catalog.n_items + 1)}
        best = sorted((item for item in scores if item not in case.history), key=lambda item: -scores[item])[:10]
        assert ranking.items[row].tolist() == best
        assert ranking.scores[row].tolist() == pytest.approx([scores[item] for item in best], abs=1e-3)


def test_lines_are_cut_into_the_same_tokens_alone_and_together(folder: Path) -> None:
    policy = LocalPolicy.load(folder)
    lines = [HISTORY_OPEN, *(title + "\n  - genres: Drama\n" for title in build_world(FILMS).dataset.catalog.titles[:20])]
    assert policy.encode("".join(lines)) == tuple(itertools.chain.from_iterable(map(policy.encode, lines)))


def test_a_history_too_long_for_a_row_loses_its_oldest_events_whole(folder: Path, tmp_path: Path) -> None:
    made = recipe(folder, lora=0)
    made = made.model_copy(update={"language": made.language.model_copy(update={"windows": WindowSettings(row=256)})})
    build_world(FILMS).dataset.save(tmp_path / "dataset")
    work, policy = DeepRecWorkshop(made, Run(tmp_path)), LocalPolicy.load(folder)
    longest = max(len(policy.encode(title + "\n")) for title in work.catalog.titles)
    prompt = work.language_prompt(policy, 200)(Case(0, tuple(range(1, 41)), 50))
    lines = history_lines(Case(0, tuple(range(1, 41)), 50), work.catalog, made.protocol.model_copy(update={"history_length": 40}))
    kept = next(count for count in range(41) if prompt == HISTORY_OPEN + "".join(lines[40 - count :]))
    assert kept > 1
    assert len(policy.encode(prompt)) + longest <= 256 < len(policy.encode(HISTORY_OPEN + "".join(lines[39 - kept :]))) + longest
