"""All runs below a folder can be looked through: finished ones, one under way, one that cannot be read."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import ran
from fastapi.testclient import TestClient

from fathom.errors import ConfigError
from fathom.evaluation.evaluate import Evaluation
from fathom.pipeline.explore import Library, explore_folders
from fathom.serving.explorer import explorer_app
from tests.browsers import browser, browser_only, opened
from tests.serving.shop import running

__all__ = ["browser"]

RECIPE = {
    "method": "sequential",
    "name": "tiny",
    "world": {"films": 60, "users": 40, "events": 9},
    "valid_users": 4,
    "test_users": 30,
    "models": {"popularity": None, "item-knn": {"neighbours": 7}},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, one that has only begun, one whose table is broken, one whose recipe is, and what is no run."""
    folder = tmp_path_factory.mktemp("explored")
    recipe = folder / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    runs = folder / "runs"
    ran(recipe, runs / "whole")
    ran(recipe, runs / "inner" / "begun", "--until", "dataset")
    with (runs / "inner" / "begun" / "metrics.jsonl").open("w", encoding="utf-8") as log:
        log.writelines(json.dumps({"stage": "sasrec", "step": step, "sasrec/loss": 4.0 - step}) + "\n" for step in range(3))
    side = runs / "inner" / "begun" / "side" / "gru4rec"  # as of a training beside others
    side.mkdir(parents=True)
    (side / "recipe.yaml").write_text("", encoding="utf-8")
    (side / "metrics.jsonl").write_text('{"stage": "gru4rec", "step": 1, "gru4rec/loss": 9.0}\n', encoding="utf-8")
    shutil.copytree(runs / "whole", runs / "broken")
    (runs / "broken" / "results.json").write_text("{", encoding="utf-8")
    (runs / "strange").mkdir()
    (runs / "strange" / "recipe.yaml").write_text("method: magic\n", encoding="utf-8")
    (runs / "empty").mkdir()
    return runs


@pytest.fixture
def client(runs: Path) -> TestClient:
    return TestClient(explorer_app(Library([runs])), raise_server_exceptions=False)


def told(client: TestClient, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return unescape(answer.text)


def test_all_runs_stand_in_one_table_and_those_that_cannot_be_read_say_why(client: TestClient) -> None:
    page = told(client, "/")
    for name in ("whole", "inner/begun", "broken", "strange"):
        assert f">{name}</a>" in page
    assert "4 runs in" in page
    assert "1 of them finished" in page
    assert "not finished, 1 stages done" in page
    assert "magic" in page
    assert "results.json" in page
    assert page.count('<th scope="row"') == 4 + 3, "runs, and each row of the finished one"


def test_a_run_is_shown_with_its_other_pages(client: TestClient) -> None:
    page = told(client, "/run?run=whole")
    assert "NDCG@10 against milliseconds per user" in page
    assert 'href="answers?run=whole"' in page
    assert 'href="./"' in page
    assert page.count('<article class="episode" id="answer-') == 10
    assert "10 of 30 answers of item-knn" in page


def test_a_run_under_way_shows_how_far_it_is(client: TestClient) -> None:
    page = told(client, "/run?run=inner/begun")
    assert "Not finished. Done: dataset." in page
    assert "sasrec: loss: from 4 to 2 over 3 points" in page
    assert "Once: loss 9." in page


def test_answers_are_read_kind_by_kind_and_page_by_page(client: TestClient, runs: Path) -> None:
    ranks = Evaluation.load(runs / "whole" / "ranks" / "item-knn.parquet").ranks
    found = int(((ranks > 0) & (ranks <= 10)).sum())
    assert 0 < found < 30
    page = told(client, "/answers?run=whole&kind=hit")
    assert f"{found} of 30 answers" in page
    assert page.count('<article class="episode"') == min(found, 10)
    seen = [
        user
        for number in (1, 2, 3)
        for user in re.findall(r'overline">User (\d+) · next came', told(client, f"/answers?run=whole&row=popularity&page={number}"))
    ]
    assert len(seen) == len(set(seen)) == 30
    one = told(client, f"/answers?run=whole&user={seen[7]}")
    assert re.findall(r'overline">User (\d+) · next came', one) == [seen[7]]
    assert "None of this kind" in told(client, "/answers?run=whole&user=99999")
    assert "None of this kind" in told(client, "/answers?run=whole&kind=failed")


def test_what_changed_from_one_row_to_another_adds_up_to_the_difference_of_the_table(client: TestClient, runs: Path) -> None:
    page = told(client, "/changes?run=whole&before=popularity&after=item-knn")
    each = [Evaluation.load(runs / "whole" / "ranks" / f"{name}.parquet").per_case("ndcg@10") for name in ("popularity", "item-knn")]
    gains = each[1] - each[0]
    assert f"rose for {int((gains > 0).sum())}, fell for {int((gains < 0).sum())} and stayed for" in page
    assert f"{gains.mean():+.4f} on average" in page
    assert page.count('<details class="changed"') == 10
    lost = told(client, "/changes?run=whole&before=popularity&after=item-knn&kind=lost")
    assert lost.count('<details class="changed"') == min(int((gains < 0).sum()), 10)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/run?run=wole", "there is no run 'wole' here; did you mean 'whole'?"),
        ("/run", "there is no run '' here"),
        ("/run?run=../../etc", "there is no run '../../etc' here"),
        ("/answers?run=whole&row=item-nn", "there is no 'item-nn'; did you mean 'item-knn'?"),
        ("/answers?run=whole&kind=lucky", "kind: there is no 'lucky'"),
        ("/changes?run=whole&before=x", "before: there is no 'x'"),
        ("/answers?run=inner/begun", "results.json"),
        ("/run?run=broken", "results.json"),
        ("/run?run=strange", "magic"),
        ("/run?run=<script>alert(1)</script>", "there is no run '<script>alert(1)</script>' here"),
        ("/nowhere/at/all", "There is no page /nowhere/at/all."),
        ("/..%2f..%2fetc/passwd", "There is no page"),
    ],
)
def test_what_is_not_there_is_said_on_a_page(client: TestClient, address: str, said: str) -> None:
    assert said in told(client, address, 404)
    assert "<script>alert" not in client.get(address).text


@pytest.mark.parametrize("page", ["0", "-1", "1e9", "99999999999999", "x", "²"])
def test_a_page_that_is_no_number_is_the_first_one(client: TestClient, page: str) -> None:
    assert told(client, "/answers", 404)
    assert told(client, f"/answers?run=whole&page={page}").count('<article class="episode"') == 10


def test_pages_ask_nothing_from_elsewhere(client: TestClient) -> None:
    for address in ("/", "/run?run=whole", "/answers?run=whole", "/changes?run=whole"):
        answer = client.get(address)
        assert "default-src 'none'" in answer.text
        assert not re.search(r"\bsrc=|@import|url\(|<link", answer.text)
        assert answer.headers["x-frame-options"] == "DENY"


def test_what_is_written_anew_is_read_anew(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "whole", tmp_path / "whole")
    client = TestClient(explorer_app(Library([tmp_path])))
    assert "30 of 30 answers" in told(client, "/answers?run=whole")
    ran(tmp_path / "whole" / "recipe.yaml", tmp_path / "whole", "--set", "test_users=20")
    os.utime(tmp_path / "whole" / "results.json")
    assert "20 of 20 answers" in told(client, "/answers?run=whole")


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such folder"):
        explore_folders([tmp_path / "runs"], host="127.0.0.1", port=1)


def test_an_empty_folder_says_how_to_fill_it(tmp_path: Path) -> None:
    assert "There is no run in" in told(TestClient(explorer_app(Library([tmp_path]))), "/")


@pytest.fixture(scope="module")
def url(runs: Path) -> Iterator[str]:
    with running(explorer_app(Library([runs]))) as address:
        yield address


@browser_only
def test_runs_are_looked_through_in_a_browser(browser: Any, url: str) -> None:
    with opened(browser, url) as page:
        heads = page.locator("#every-row table th button")
        users = heads.filter(has_text="NDCG@10").first
        shown = []
        for _ in range(2):
            users.click()
            shown.append([float(text) for text in page.locator("#every-row tbody td:nth-child(3)").all_inner_texts()])
        assert shown[0] == sorted(shown[0], reverse=True)
        assert shown[1] == sorted(shown[1])
        assert users.locator("xpath=..").get_attribute("aria-sort") == "ascending"

        page.get_by_role("link", name="whole", exact=True).first.click()
        page.wait_for_selector("figure.wide svg")
        page.get_by_role("link", name="All answers").click()
        page.wait_for_selector(".answers .episode")
        page.get_by_role("link", name="Missed").click()
        page.wait_for_selector(".button[aria-current]:has-text('Missed')")
        assert set(page.locator(".answers .chip").evaluate_all("all => all.map(one => one.className)")) == {"chip miss"}
        page.keyboard.press("j")
        assert page.evaluate("() => document.activeElement.className") == "episode"
        page.select_option("select[name=row]", "popularity")
        page.get_by_role("button", name="Show").click()
        page.wait_for_selector("h1:has-text('Answers of popularity')")
        page.get_by_role("link", name="All changes").click()
        page.wait_for_selector("details.changed")
        second = page.locator("details.changed").nth(1)
        assert not second.locator(".pair").is_visible()
        second.locator("summary").first.click()
        assert second.locator(".pair article").count() == 2
        assert second.locator(".pair").is_visible()


@browser_only
@pytest.mark.parametrize("address", ["/", "/run?run=whole", "/answers?run=whole", "/changes?run=whole", "/run?run=inner/begun"])
def test_a_narrow_dark_screen_shows_all_of_it(browser: Any, url: str, address: str) -> None:
    with opened(browser, url + address, viewport={"width": 360, "height": 700}, color_scheme="dark") as page:
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), "nothing has to be scrolled sideways"
        assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(15, 20, 23)"
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, input:not([type=hidden]), select, a")].filter(one =>
                !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length)).map(one => one.outerHTML)"""
        )
        assert nameless == []
