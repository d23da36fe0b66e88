"""Dialogues are read, signals are weighed by other people's turns, a language model reads along, and everybody is asked at every turn."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console

from fathom.conversation.learned import Question, learned_weights, question_of
from fathom.conversation.likely import lines_of
from fathom.conversation.shelves import Shelves
from fathom.data.dataset import Dataset
from fathom.data.redial import RecommendationTurn, read_redial
from fathom.files import write_json
from fathom.items.text import item_texts
from fathom.pipeline.conversation.recipe import ConversationRecipe
from fathom.pipeline.conversation.table import ConversationTable
from fathom.pipeline.conversation.workshop import ALL, ConversationWorkshop
from fathom.pipeline.groundwork import first_policy, read_histories
from fathom.pipeline.judge import judge_all
from fathom.pipeline.stages import Stage
from fathom.pipeline.workshop import data_folder
from fathom.records import Interactions
from fathom.training.processes import processes
from fathom.training.run import progress

MOST_TURNS = 1_000
"""So many turns of a fold, drawn by the recipe's seed, are enough for a handful of weights."""

MOST_LISTS = 300
"""So many are enough for the two weights of a language model, which reads a hundred titles at each."""


def read_dialogues(work: ConversationWorkshop) -> None:
    """The dialogues, and what they name as a data set: a dialogue is a user."""
    assert work.recipe.source is not None
    found = read_redial(data_folder(work.recipe.source.name))
    named = [list(dict.fromkeys(item for said in dialogue.utterances for item in said.items)) for dialogue in found.dialogues]
    offsets = np.concatenate([[0], np.cumsum([len(items) for items in named])]).astype(np.int64)
    flat = np.array([item for items in named for item in items], dtype=np.int64)
    log = Interactions(tuple(dialogue.name for dialogue in found.dialogues), offsets, flat)
    Dataset("redial", found.catalog, log, source=work.recipe.source.name).save(work.folder("dataset"))
    work.keep_dialogues(found)
    turns = f"{len(work.turns):,} turns recommend something new"
    people = len({dialogue.recommender for dialogue in found.dialogues})
    told = f"{len(found.dialogues):,} dialogues about {found.catalog.n_items:,} films; {turns}, by {people:,} people"
    Console().print(f"  {told}", highlight=False)


def weigh_signals(work: ConversationWorkshop) -> None:
    """For each part and row the weights under which what is recommended in the fold beside it is likeliest; the mean of them serves."""
    rows, found = work.recipe.learned, {}
    work.encoder.encode([" ".join(standing.wishes.words) for standing in work.standings if standing.wishes.words])
    names = list(dict.fromkeys(name for signals in rows.values() for name in signals))
    with progress("weighing signals", work.recipe.folds) as advance:
        for part in work.parts[:-1]:
            shelves, fold = work.shelves(int(part), work.weighing_fold(part)), work.weighing_fold(part)
            questions = [_question(work, place, shelves, names) for place in turns_of(work, fold, MOST_TURNS)]
            found[part] = {row: learned_weights([_narrowed(one, names, own) for one in questions], own) for row, own in rows.items()}
            advance(1)
    found[ALL] = mean_of(list(found.values()))
    write_json(work.weights_file, found)
    for row, weights in found[ALL].items():
        told = ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items())
        Console().print(f"  {row}: {told}", highlight=False)


def turns_of(work: ConversationWorkshop, fold: int, most: int) -> list[int]:
    """The places of at most so many turns of a fold, drawn by the recipe's seed."""
    places = [place for place, turn in enumerate(work.turns) if work.folds[turn.dialogue] == fold]
    if len(places) <= most:
        return places
    drawn: list[int] = np.sort(np.random.default_rng(work.recipe.seed).choice(places, size=most, replace=False)).tolist()
    return drawn


def relevant(turn: RecommendationTurn) -> tuple[int, ...]:
    """What is named in the turn for the first time."""
    return (turn.case.target, *turn.case.later)


def _question(work: ConversationWorkshop, place: int, shelves: Shelves, names: Sequence[str]) -> Question:
    turn, standing = work.turns[place], work.standings[place]
    unnamed = shelves.everything
    unnamed[list(turn.case.history)] = False
    return question_of(shelves.signals(standing.wishes, turn.case.history, names), names, unnamed, relevant(turn))


def _narrowed(question: Question, names: Sequence[str], own: Sequence[str]) -> Question:
    return Question(question.signals[:, [names.index(name) for name in own]], question.right)


def mean_of(parts: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Row -> signal -> mean weight over parts."""
    return {row: {name: float(np.mean([part[row][name] for part in parts])) for name in weights} for row, weights in parts[0].items()}


def read_along(work: ConversationWorkshop) -> None:
    """For each part a language model that has read what the part may learn from, and what its likelihoods count."""
    settings, found = work.recipe.language, {}
    assert settings is not None
    row = list(work.recipe.learned)[-1]
    for part in work.parts:
        asked = () if part == ALL else (int(part), work.weighing_fold(part))
        dialogues = [work.dialogues.dialogues[place] for place in work.learnable(asked)]
        folder, scripts = work.language_folder(part), [lines_of(dialogue.utterances, work.catalog) for dialogue in dialogues]
        if not work.folder(folder).is_dir():
            texts = [*work.catalog.titles, *item_texts(work.catalog), *("".join(script) for script in scripts)]
            policy = first_policy(work, settings, partial(list, texts), (), vectors=lambda: work.vectors)
            read_histories(work, policy, settings, scripts, stage=folder)
        processes().wait_for_everyone()
        if part == ALL or not processes().is_main_process:
            continue
        fold = work.weighing_fold(part)
        shelves = work.shelves(*asked).weighed(work.weights[part][row])
        found[part] = {row: _mixed(work, part, shelves, turns_of(work, fold, MOST_LISTS))}
    if processes().is_main_process:
        found[ALL] = mean_of(list(found.values()))
        write_json(work.mixing_file, found)
        told = ", ".join(f"{part}: {weights[row]['likelihood']:.2f}" for part, weights in found.items())
        Console().print(f"  what a nat of likelihood counts, by part: {told}", highlight=False)


def _mixed(work: ConversationWorkshop, part: str, shelves: Shelves, places: Sequence[int]) -> dict[str, float]:
    """What scores and likelihoods count, by the lists that hold what was recommended."""
    lists, scores, kept = [], [], []
    for place in places:
        history = work.turns[place].case.history
        items, told = shelves.ranked(work.standings[place].wishes, history, history)
        items, told = items[: work.recipe.looked_at], told[: work.recipe.looked_at]
        if set(items) & set(relevant(work.turns[place])):
            lists.append(items)
            scores.append(told)
            kept.append(place)
    likelihoods = work.likelihoods(part).of([work.turns[place].said for place in kept], lists)
    questions = [
        Question(
            np.stack([np.asarray(told), own], axis=1).astype(np.float32),
            tuple(row for row, item in enumerate(items) if item in relevant(work.turns[place])),
        )
        for place, items, told, own in zip(kept, lists, scores, likelihoods, strict=True)
    ]
    return learned_weights(questions, ("scores", "likelihood"))


def judge_listeners(work: ConversationWorkshop) -> None:
    """Everybody is asked what to recommend at every turn in which somebody did."""
    judge_all(ConversationTable(work), command=work.command)


def stages_of(recipe: ConversationRecipe) -> Sequence[Stage[Any]]:
    """Dialogues, weights, language models, results."""
    read = ("world", "source", "sessions", "split")
    dataset = Stage("dataset", "dialogues and what they name", (), read, read_dialogues, leaves=("dataset", "dialogues"), alone=True)
    weights = Stage("weights", "what each signal counts", ("dataset",), ("seed", "folds", "encoder", "learned"), weigh_signals, alone=True)
    folders = ("lm", *(f"lm@{part}" for part in [*map(str, range(recipe.folds)), ALL]))
    language = Stage("lm", "a language model reads along", ("weights",), ("language", "looked_at"), read_along, leaves=folders)
    speaking = [language] if recipe.language is not None else []
    asking = ("test_users", "valid_users", "asked", "endpoint")
    results = Stage(
        "results",
        "everybody is asked at every turn that recommends",
        ("weights", *(stage.name for stage in speaking)),
        asking,
        judge_listeners,
        leaves=("ranks", "guests", "asked"),
    )
    return [dataset, weights, *speaking, results]
