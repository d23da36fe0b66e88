"""One grid of words, three renderings; the best is marked, the oracle never is."""

import pytest

from fathom.errors import ConfigError
from fathom.evaluation.results import Difference, Results
from fathom.reports.tables import caption, comparison_lines, grid, is_better, latex_table, readme_table


def test_grid_has_interval_strict_and_oracle_columns(results: Results):
    words = grid(results)
    assert words.header[:6] == ("model", "NDCG@10", "95 % interval", "strict NDCG@10", "of oracle", "Recall@10")
    agent = dict(zip(words.header, words.rows[2], strict=True))
    assert agent["NDCG@10"] == "0.1650"
    assert agent["95 % interval"] == "0.1550–0.1750"
    assert agent["strict NDCG@10"] == "0.1642"
    assert agent["of oracle"] == "75 %"  # .165 / .22
    assert (agent["turns"], agent["format valid"], agent["ms / user"]) == ("2.4", "99.3 %", "5.0")
    assert words.rows[0][3] == "–"


def test_the_best_is_a_model_and_never_the_oracle(results: Results):
    assert grid(results).best == {(2, 1), (2, 5), (2, 6)}


def test_no_oracle_no_share_and_no_agent_no_turns(results: Results):
    plain = results.model_copy(update={"rows": results.rows[:2], "comparisons": []})
    assert grid(plain).header == ("model", "NDCG@10", "95 % interval", "Recall@10", "MRR", "ms / user")


def test_unknown_metric_is_named_with_the_nearest_known_one(results: Results):
    with pytest.raises(ConfigError, match="no row has the metric 'ndgc@10'; did you mean 'ndcg@10'"):
        grid(results, ["ndgc@10"])


def test_comparisons_in_words(results: Results):
    assert comparison_lines(results) == [
        "agent-stage2 vs retriever: NDCG@10 +3.1 % [+1.0 %, +5.2 %], p = .02",  # .0016 / .16 and .0084 / .16
        "agent-stage2 vs popularity: NDCG@10 +0.1150, p < .001",
    ]


def test_markdown_table_is_whole(results: Results):
    text = readme_table(results)
    lines = text.splitlines()
    assert lines[0].startswith("| model | NDCG@10 |")
    assert "| agent-stage2 | **0.1650** |" in text
    assert "| oracle | 0.2200 |" in text
    assert len({line.count("|") for line in lines[:6]}) == 1
    assert "- agent-stage2 vs retriever: NDCG@10 +3.1 %" in text
    assert "`fathom run recipes/demo.yaml`, commit `0123456789`, seed 7." in text


def test_the_caption_is_made_of_whole_sentences(results: Results):
    facts = results.dataset.model_copy(update={"split": "leave-one-out, all test users. Trends may leak."})
    told = caption(results.model_copy(update={"dataset": facts}))
    assert told.startswith("1,000 users asked, full ranking. Split: leave-one-out, all test users. Trends may leak. 95 % intervals")
    assert ".," not in told
    assert ".." not in told


def test_latex_escapes_what_latex_would_read(results: Results):
    text = latex_table(results)
    assert r"95 \% interval" in text
    assert r"agent-stage2 & \textbf{0.1650} & 0.1550--0.1750" in text
    assert text.startswith(r"\begin{tabular}{lrrrrrrrrr}")


@pytest.mark.parametrize(
    ("metric", "difference", "better"),
    [
        ("mae", -0.1, True),
        ("rating-2/mae", 0.1, False),
        ("rating-2/rmse", -0.1, True),
        ("ndcg@10", 0.1, True),
        ("rare/ndcg@10", -0.1, False),
    ],
)
def test_less_is_better_of_errors_whatever_cases_they_are_of(metric: str, difference: float, better: bool) -> None:
    assert is_better(Difference(a="a", b="b", metric=metric, ratio=None, difference=difference, p=0.01)) == better
