"""The page is one file, asks the network for nothing, escapes everything, and can be read by everybody."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from fathom.evaluation.results import Results
from fathom.records import Catalog, Episode
from fathom.reports.page import PageData, render, write_page
from fathom.reports.plots import column_chart, line_chart, nice_ticks
from fathom.reports.readings import of_episode, spread

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Reader(HTMLParser):
    """Reads a page: which elements there are, whether they nest, and the text outside scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture
def page(results: Results, catalog: Catalog, episodes: list[Episode]) -> PageData:
    log = [
        {"stage": "retriever", "step": s, "retriever/loss": 5.0 - s / 10, "retriever/epoch": s, "retriever/odd": None} for s in range(30)
    ]
    log += [{"stage": "agent-stage1", "step": s, "agent-stage1/reward/total": s / 9, "agent-stage1/<b>own": 1.0} for s in range(9)]
    readings = [of_episode(episode, catalog, place) for episode, place in zip(episodes, (1, 0), strict=True)]
    told = PageData("demo <1>", results, catalog, log, episodes, "agent-stage2", "name: demo  # <i>yes</i>", ("Leaks & all.",))
    return replace(told, readings=readings)


def test_windows_of_time_have_a_curve_each_model_and_other_runs_none(page: PageData):
    assert "Over time" not in render(page)
    rows = [
        row.model_copy(
            update={"metrics": row.metrics | {f"2019-04-0{day}/ndcg@10": row.metrics["ndcg@10"] + day / 100 for day in (1, 2, 3)}}
        )
        for row in page.results.rows
    ]
    timed = render(replace(page, results=page.results.model_copy(update={"rows": rows})))
    read(timed)
    assert "in each of 3 windows, 2019-04-01 to 2019-04-03" in timed
    assert timed.count("in each window: from ") == len(rows)


def test_of_a_stage_that_was_done_again_and_again_the_last_time_is_shown(page: PageData):
    log = [{"stage": f"sasrec@000{part}", "step": step, f"sasrec@000{part}/loss": 1.0} for part in (1, 2) for step in range(3)]
    shown = render(replace(page, log=log))
    assert "sasrec@0002" in shown
    assert "sasrec@0001" not in shown


def test_the_page_is_whole_and_its_links_lead_somewhere(page: PageData):
    reader = read(render(page))
    assert len(reader.ids) == len(set(reader.ids))
    targets = [str(attributes["href"]) for tag, attributes in reader.elements if tag == "a"]
    assert targets
    assert {target.removeprefix("#") for target in targets} <= set(reader.ids)
    assert [tag for tag, _ in reader.elements].count("h1") == 1


def test_nothing_is_asked_from_outside(page: PageData):
    text = render(page)
    assert not re.search(r"<(link|iframe|img|object|embed)\b", text)
    assert not re.search(r"\b(src|srcset|action)=", text)
    assert not re.search(r"@import|url\(", text)
    assert set(re.findall(r"https?://[^\"' )]+", text)) <= {"http://www.w3.org/2000/svg"}  # a name, never fetched
    assert "default-src 'none'" in text


def test_markup_in_titles_thoughts_lines_logs_and_settings_stays_text(page: PageData):
    text = render(page)
    reader = read(text)
    assert [tag for tag, _ in reader.elements].count("script") == 1
    for raw in ("<script>alert", "<b>science", "<i>land", "<i>yes", "demo <1>", "<fast>", "<b>own"):
        assert raw not in text, raw
    words = "".join(reader.words)
    for told in ("<script>alert('x')</script>", "<b>science fiction</b>", "Nowhere <i>land</i>", "demo <1>", "A <fast> one", "<b>own"):
        assert told in words, told


def test_an_episode_shows_what_is_new_and_where_the_target_was(page: PageData):
    text = render(page)
    assert "3 came back, all new" in text
    assert text.count('<li class="target">') == 3  # shown in turn 2, in the final list, in the order of likelihood
    assert "listed at place 1" in text
    assert "turn 2" in text
    assert "wrote more than allowed" in text
    assert 'data-outcome="failed"' in text


def test_the_verdict_is_plain_and_follows_the_tests(page: PageData):
    assert "agent-stage2 reaches NDCG@10 .1650, 75 % of what can be reached" in render(page)
    assert "can be reached: better than retriever and popularity." in render(page)
    told = page.results.comparisons
    even = page.results.model_copy(update={"comparisons": [told[0].model_copy(update={"p": 0.4})]})
    assert "can be reached: not told apart from retriever." in render(replace(page, results=even))


def test_the_scored_finish_is_told_after_the_written_one(page: PageData):
    rows = [*page.results.rows, page.results.rows[1].model_copy(update={"model": "agent-stage2-scored"})]
    other = page.results.comparisons[0].model_copy(update={"a": "agent-stage2-scored", "difference": -0.01, "p": 0.001})
    told = page.results.model_copy(update={"rows": rows, "comparisons": [*page.results.comparisons, other]})
    assert "Its scored finish reaches NDCG@10 .1600, 73 % of what can be reached: worse than retriever." in render(
        replace(page, results=told)
    )


def test_tests_that_are_not_about_the_agent_are_folded_away(page: PageData):
    aside = page.results.comparisons[0].model_copy(update={"a": "retriever", "b": "popularity"})
    told = page.results.model_copy(update={"comparisons": [*page.results.comparisons, aside]})
    text = render(replace(page, results=told))
    assert text.index("agent-stage2 vs popularity") < text.index("<summary>1 more</summary>") < text.index("retriever vs popularity")


def test_a_run_without_agent_log_and_settings_has_a_page_too(results: Results, catalog: Catalog):
    plain = results.model_copy(update={"rows": results.rows[:2], "comparisons": []})
    reader = read(render(PageData("plain", plain, catalog)))
    words = "".join(reader.words)
    assert "No agent was evaluated" in words
    assert not {"Training", "Behaviour", "Changes", "Answers"} & set(reader.words), "what there is nothing of has no heading"


def test_stages_tell_what_they_took(page: PageData):
    words = "".join(read(render(replace(page, stage_seconds={"retriever": 60.0, "lm": 252.0}))).words)
    assert "What the run cost: 5.2 min" in words
    assert words.index("60.0 s") < words.index("4.2 min")
    assert "What the run cost" not in render(page)


def test_curves_of_every_stage_are_drawn_and_counters_are_not(page: PageData):
    text = render(page)
    assert 'aria-label="retriever: loss: from 5 to 2.1 over 30 points, lowest 2.1, highest 5"' in text
    assert "reward · total" in text
    assert "retriever: epoch" not in text
    assert "retriever: odd" not in text


def test_episodes_to_read_are_spread_and_not_picked() -> None:
    assert len(spread(95)) == 10
    assert spread(50) == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]
    assert spread(3) == [0, 1, 2]


def test_the_same_data_give_the_same_page_written_whole(page: PageData, tmp_path: Path):
    write_page(tmp_path / "report.html", page)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(page)


def test_one_point_and_equal_values_can_be_drawn():
    assert "NaN" not in line_chart([(1.0, 3.0)], label="one") + line_chart([(1.0, 0.0), (2.0, 0.0)], label="flat")
    assert column_chart([], label="none").endswith("</svg>")


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    drawn = line_chart([(float(step), float(step)) for step in range(10_000)], label="long")
    points = re.search(r'data-points="([^"]*)"', drawn)
    assert points is not None
    told = points[1].split(" ")
    assert len(told) == 240
    assert told[0].endswith("|0|0")
    assert told[-1].endswith("|9,999|9,999")


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 8), (0.001, 0.0012), (1e5, 3e6), (5, 5), (0, 0), (-2, -2), (0.1, 97)])
def test_ticks_hold_the_values_and_are_few(low: float, high: float):
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 5


def test_text_colours_can_be_read_on_both_themes():
    style = (files("fathom.reports") / "templates" / "page.css").read_text(encoding="utf-8")
    for theme in re.findall(r"\{[^{}]*--paper:[^{}]*\}", style):
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", theme))
        for name in ("ink", "quiet", "faint", "accent", "warn"):
            for ground in ("paper", "raised"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground, colours[name])  # WCAG 2.2, level AA
        assert contrast(colours["accent"], colours["accent-soft"]) >= 4.5


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
