"""On a terminal no number is ever cut: what does not fit stands in another table below."""

import re
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from fathom.evaluation.results import Results
from fathom.reports.terminal import ComparisonTable, ResultsTable


def printed(view: RenderableType, *, width: int, styles: bool = False) -> str:
    console = Console(width=width, record=True, file=StringIO(), force_terminal=True)
    console.print(view)
    return console.export_text(styles=styles)


def heads(text: str) -> list[list[str]]:
    """The titles of each table's columns."""
    return [re.split(r"  +", line.strip()) for line in text.splitlines() if line.startswith("model")]


@pytest.fixture
def long_names(results: Results) -> Results:
    """The rows as a full run has them: the longest name, and an interval that needs all its digits."""
    names = {"agent-stage2": "agent-stage2-scored"}
    rows = [row.model_copy(update={"model": names.get(row.model, row.model)}) for row in results.rows]
    told = [one.model_copy(update={"a": names[one.a]}) for one in results.comparisons]
    return results.model_copy(update={"rows": rows, "comparisons": told})


def test_a_wide_terminal_has_one_table_with_everything(long_names: Results):
    everything = ["model", "NDCG@10", "interval", "strict NDCG@10", "of oracle", "Recall@10", "MRR", "turns", "valid", "ms / user"]
    assert heads(printed(ResultsTable(long_names), width=130)) == [everything]


def test_eighty_columns_show_what_matters_first_and_the_rest_below(long_names: Results):
    text = printed(ResultsTable(long_names), width=80)
    first, second = heads(text)
    assert first == ["model", "NDCG@10", "interval", "of oracle", "Recall@10", "turns", "valid"]
    assert second == ["model", "strict NDCG@10", "MRR", "ms / user"]
    assert re.search(r"^agent-stage2-scored +\.1650 +\.155–\.175 +75 % +\.3300 +2\.4 +99\.3 %", text, re.MULTILINE)


@pytest.mark.parametrize("width", [24, 33, 40, 47, 55, 64, 72, 80, 97, 111, 130, 200])
def test_no_number_is_cut_at_any_width(long_names: Results, width: int):
    text = printed(ResultsTable(long_names), width=width)
    assert "…" not in text
    for number in (".1650", ".155–.175", ".1642", "75 %", ".3300", ".0825", "2.4", "99.3 %", "5.0"):
        assert number in text, number
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [40, 60, 80, 130])
def test_no_comparison_is_cut_at_any_width(long_names: Results, width: int):
    text = printed(ComparisonTable(long_names), width=width)
    assert "…" not in text
    assert "+3.1" in text
    assert "< .001" in text


def test_comparisons_stand_in_their_order_with_interval_and_p(results: Results):
    text = printed(ComparisonTable(results), width=80)
    assert re.search(r"agent-stage2 +retriever +\+3\.1 +\+1\.0 to \+5\.2 +\.02", text)  # .0016 / .16 and .0084 / .16
    assert re.search(r"agent-stage2 +popularity +\.1150 in all +< \.001", text)  # no ratio: the mean of the second is 0
    assert text.index("retriever") < text.index("popularity")


def test_what_is_likely_real_is_bright_and_the_rest_dim(results: Results):
    first, second = results.comparisons
    doubtful = results.model_copy(update={"comparisons": [first.model_copy(update={"p": 0.4}), second]})
    lines = printed(ComparisonTable(doubtful), width=80, styles=True).splitlines()
    assert "\x1b[2m" in next(line for line in lines if "retriever" in line)
    assert "\x1b[1;32m" in next(line for line in lines if "popularity" in line)


def test_comparisons_without_any_difference_are_only_counted(results: Results):
    same = results.comparisons[0].model_copy(update={"difference": 0.0, "ratio": 1.0, "p": 1.0, "low": 0.0, "high": 0.0})
    text = printed(ComparisonTable(results.model_copy(update={"comparisons": [same, results.comparisons[1]]})), width=80)
    assert "retriever" not in text
    assert "1 more comparison shows no difference at all." in text


def test_each_metric_has_a_table_of_its_own(results: Results):
    rare = results.comparisons[0].model_copy(update={"metric": "rare/ndcg@10"})
    text = printed(ComparisonTable(results.model_copy(update={"comparisons": [*results.comparisons, rare]})), width=80)
    assert text.index("NDCG@10 compared") < text.index("popularity") < text.index("rare NDCG@10 compared")


def test_names_are_not_read_as_markup(results: Results):
    rows = [row.model_copy(update={"model": "[/red]" + row.model}) for row in results.rows]
    text = printed(ResultsTable(results.model_copy(update={"rows": rows, "comparisons": []})), width=160)
    assert "[/red]agent-stage2" in text
    assert "1,000 users asked" in text
    assert "counts as a miss" in text
