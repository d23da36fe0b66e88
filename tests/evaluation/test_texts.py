"""What was written is measured as the reference packages measure it, and by hand (checklist P13)."""

from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from fathom.errors import DataError
from fathom.evaluation.judged import Judged
from fathom.evaluation.texts import Texts, distinct, feature_figures

WRITTEN = ("the sound is warm and clear", "a cable", "it holds the tune well", "the sound is warm")
REFERENCES = ("the sound is clear and warm", "this cable is short", "holds its tune very well", "the sound is warm")


def texts(written: tuple[str, ...] = WRITTEN, references: tuple[str, ...] = REFERENCES) -> Texts:
    return Texts(np.arange(len(written)), written, references, ("sound", "cable", "tune", "")[: len(written)])


def test_bleu_is_that_of_sacrebleu() -> None:
    found = texts().bleu()
    assert found["bleu-4"] == pytest.approx(sacrebleu.corpus_bleu(list(WRITTEN), [list(REFERENCES)], lowercase=True).score / 100)


def test_bleu_of_single_words_by_hand() -> None:
    """Six of six words stand in the reference, six against six long: 1. Of two words one, and two against four long: 1/2 exp(1 - 4/2)."""
    assert texts(WRITTEN[:1], REFERENCES[:1]).bleu()["bleu-1"] == pytest.approx(1.0)
    assert texts(WRITTEN[1:2], REFERENCES[1:2]).bleu()["bleu-1"] == pytest.approx(0.5 * np.exp(-1.0))


def test_rouge_is_that_of_rouge_score_and_by_hand() -> None:
    """'the sound is warm and clear' against '... clear and warm': all six words, two of five pairs (the sound, sound is)
    and a common subsequence of four (the sound is warm)."""
    found = texts().rouge()
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    for place, (written, reference) in enumerate(zip(WRITTEN, REFERENCES, strict=True)):
        want = scorer.score(reference, written)
        assert all(found[name][place] == pytest.approx(want[name].fmeasure) for name in want)
    assert found["rouge1"][0] == pytest.approx(1.0)
    assert found["rouge2"][0] == pytest.approx(2 / 5)
    assert found["rougeL"][0] == pytest.approx(4 / 6)


def test_every_text_counts_and_intervals_hold_their_means() -> None:
    means, low, high = texts().figures()
    assert means["rouge-l"] == pytest.approx(float(texts().rouge()["rougeL"].mean()))
    assert set(low) == {"rouge-1", "rouge-2", "rouge-l"}
    assert all(low[name] <= means[name] <= high[name] for name in low)
    assert means["unique_sentences"] == 1.0
    assert texts(("same",) * 4).figures()[0]["unique_sentences"] == 0.25


def test_distinct_and_features_by_hand() -> None:
    assert distinct(["a b a", "a b"], 1) == 2 / 5
    assert distinct(["a"], 2) == 0.0
    found = feature_figures(["warm sound", "sound of a cable", "nothing"], ["sound", "cable", "strap"])
    assert found == {"feature_match": 2 / 3, "feature_coverage": 2 / 3, "feature_overlap": pytest.approx(1 / 3)}
    assert feature_figures(["anything"], [""]) == {}


def test_saved_texts_come_back_and_others_are_refused(tmp_path: Path) -> None:
    texts().save(tmp_path / "texts.parquet", seconds=8.0)
    again, seconds = Texts.load(tmp_path / "texts.parquet")
    assert (again.written, again.references, again.features) == (texts().written, texts().references, texts().features)
    assert seconds == pytest.approx(8.0)
    (tmp_path / "broken.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match=r"broken.parquet: no texts"):
        Texts.load(tmp_path / "broken.parquet")
    with pytest.raises(DataError, match=r"1 of 2 references are empty"):
        Texts(np.arange(2), ("a", "b"), ("c", " "), ("", ""))


def test_verdicts_by_hand(tmp_path: Path) -> None:
    judged = Judged(np.array([0, 0, 1, 2]), np.array([0.9, 0.2, 0.6, 0.4]), np.array([True, False, False, True]))
    means, low, high = judged.figures()
    assert means == {"accuracy": 0.5, "majority": 0.5, "auc": 0.75}
    assert low["accuracy"] <= 0.5 <= high["accuracy"]
    judged.save(tmp_path / "judged.parquet", seconds=2.0)
    again, seconds = Judged.load(tmp_path / "judged.parquet")
    assert seconds == pytest.approx(2.0)
    assert (again.true == judged.true).all()
    (tmp_path / "broken.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match="no verdicts"):
        Judged.load(tmp_path / "broken.parquet")
