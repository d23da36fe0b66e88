"""ReDial's dialogues: titles in the place of numbers, turns in which something is recommended, counts without these dialogues (C8)."""

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathom.data.redial import Dialogue, apart_from, folds_of, read_redial, recommendation_turns
from fathom.errors import DataError

DATA = Path(os.environ.get("FATHOM_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
FILMS = 'movieId,movieName,nbMentions\n11,Heat  (1995),9\n12,Alien (1979),4\n13,Heat (1995),2\n14,"Good, the Bad, The (1966)",1\n'
SAID = [("s", "Hi! I loved @11 and @99"), ("r", "Then see @12"), ("s", "Seen it"), ("r", "@12 &amp; @13, or @14?"), ("r", "Bye")]


def written(folder: Path, *, films: str = FILMS, said: list[tuple[str, str]] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "movies_with_mentions.csv").write_text(films, encoding="utf-8")
    messages = [{"senderWorkerId": {"s": 1, "r": 2}[who], "text": text, "timeOffset": 0} for who, text in (SAID if said is None else said)]
    record = {"conversationId": "7", "initiatorWorkerId": 1, "respondentWorkerId": 2, "messages": messages}
    (folder / "test_data.jsonl.gz").write_bytes(gzip.compress((json.dumps(record) + "\n").encode()))
    return folder


def test_numbers_become_titles_and_films_that_are_spelt_alike_are_one(tmp_path: Path) -> None:
    told = read_redial(written(tmp_path / "redial"))
    assert told.catalog.titles == ("Heat (1995)", "Alien (1979)", "Good, the Bad, The (1966)")
    [dialogue] = told.dialogues
    assert [(one.speaker, one.text, one.items) for one in dialogue.utterances[:2]] == [
        ("seeker", "Hi! I loved Heat (1995) and @99", (1,)),
        ("recommender", "Then see Alien (1979)", (2,)),
    ]
    assert dialogue.utterances[3].text == "Alien (1979) & Heat (1995), or Good, the Bad, The (1966)?"
    assert told.elsewhere.tolist() == [0, 9 + 2 - 2, 4 - 2, 0]


def test_a_turn_recommends_what_nobody_has_named_before(tmp_path: Path) -> None:
    told = read_redial(written(tmp_path / "redial"))
    turns = recommendation_turns(told.dialogues)
    assert [(turn.case.history, turn.case.target, turn.case.later, len(turn.said)) for turn in turns] == [
        ((1,), 2, (), 1),
        ((1, 2), 3, (), 3),
    ]
    assert all(not {turn.case.target, *turn.case.later} & set(turn.case.history) for turn in turns)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40), st.integers(3, 5))
def test_nobody_who_recommends_in_a_fold_is_learned_from_elsewhere(pairs: list[tuple[int, int]], folds: int) -> None:
    dialogues = [Dialogue(str(number), (), f"person {seeker}", f"person {other}") for number, (seeker, other) in enumerate(pairs)]
    found = folds_of(dialogues, folds)
    assert set(found) <= set(range(folds))
    for fold in range(folds):
        people = {dialogue.recommender for dialogue, own in zip(dialogues, found, strict=True) if own == fold}
        learned = apart_from(dialogues, found, [fold])
        assert all(not {dialogues[place].seeker, dialogues[place].recommender} & people for place in learned)
        left = [place for place, one in enumerate(dialogues) if not {one.seeker, one.recommender} & people]
        assert learned == left, "nothing else is left out"


@pytest.mark.parametrize(
    ("films", "said"),
    [
        ("id,name\n1,Heat\n", "columns movieId, movieName and nbMentions are needed"),
        ("movieId,movieName,nbMentions\n1,Heat,many\n", "line 2: nbMentions is 'many', not a number"),
    ],
)
def test_a_list_of_films_that_cannot_be_is_told(films: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        read_redial(written(tmp_path / "redial", films=films))


def test_dialogues_that_cannot_be_are_told(tmp_path: Path) -> None:
    folder = written(tmp_path / "redial")
    (folder / "test_data.jsonl.gz").write_bytes(gzip.compress(b'{"messages": []}\n'))
    with pytest.raises(DataError, match=r"line 1: not a dialogue of ReDial \(KeyError\('initiatorWorkerId'\)\)"):
        read_redial(folder)
    (folder / "test_data.jsonl.gz").write_bytes(gzip.compress(b"{}\nno\n"))
    with pytest.raises(DataError, match="line 2: not JSON"):
        read_redial(folder)
    (folder / "test_data.jsonl.gz").unlink()
    with pytest.raises(DataError, match="no readable compressed file"):
        read_redial(folder)


@pytest.mark.data
def test_the_measured_dialogues_come_out_whole() -> None:
    if not (DATA / "redial-test").is_dir():
        pytest.skip(f"{DATA / 'redial-test'} is not here: set FATHOM_DATA to the folder of the measured data")
    told = read_redial(DATA / "redial-test")
    turns = recommendation_turns(told.dialogues)
    assert (len(told.dialogues), sum(len(dialogue.utterances) for dialogue in told.dialogues)) == (1342, 23_952)
    assert (told.catalog.n_items, len(turns)) == (6916, 3861)
    assert not any(
        "@" in utterance.text and utterance.items and f"@{utterance.items[0]}" in utterance.text
        for turn in turns
        for utterance in turn.said
    )
