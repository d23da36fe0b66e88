"""The page in a real browser: search, pick, watch turns, compare, like, chat; by keyboard; nothing from elsewhere; titles are text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fathom.serving.app import service_app
from fathom.serving.pages import FILES
from fathom.serving.store.store import Store
from tests.browsers import SECONDS, browser, browser_only, opened
from tests.serving.shop import FILMS, Slow, agent, offer, running

__all__ = ["browser"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    slow = Slow(40)
    slow.seconds = 0.7
    models = {**offer().models, "agent": lambda: agent(retriever=slow)}
    shops = [offer(models=models, default="agent"), offer("others", default="popularity")]
    with running(service_app(shops, Store(tmp_path_factory.mktemp("state") / "state.db"))) as address:
        yield address


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    with opened(browser, url) as page:
        page.wait_for_selector("#model option[value=agent]", state="attached")
        yield page


def titles(page: Any, where: str) -> list[str]:
    return [text.strip() for text in page.eval_on_selector_all(f"{where} .title", "all => all.map(one => one.firstChild.textContent)")]


@browser_only
def test_search_pick_and_watch_the_turns_come(page: Any) -> None:
    page.fill("#search", "Film 18")
    page.wait_for_selector("#found [role=option]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.inner_text("#history li span").startswith("Film 18")
    assert page.input_value("#model") == "agent"
    page.click("#ask button")
    page.wait_for_selector(".turn")
    assert page.locator(".listed").count() == 0, "the first turn is seen before the list is there"
    page.wait_for_selector(".listed > li")
    assert page.locator(".wish").all_inner_texts() == ["something of war", "something of love"]
    assert titles(page, ".listed") == [FILMS.title(item) for item in range(20, 30)]
    assert "first in turn" in page.inner_text(".listed")
    assert page.locator('.turn[data-turn="1"] .back li.new').count() == 5


@browser_only
def test_a_history_is_typed(page: Any) -> None:
    page.fill("#search", f"{FILMS.title(3)}; {FILMS.title(1).lower()} ;{FILMS.title(5)}")
    page.wait_for_selector("#found:has-text('Enter takes these 3 titles, oldest first')")
    page.keyboard.press("Enter")
    page.wait_for_selector("#history li:nth-child(3)")
    taken = page.locator("#history li > span").evaluate_all("all => all.map(one => one.firstChild.textContent)")
    assert taken == [FILMS.title(item) for item in (3, 1, 5)]
    assert page.input_value("#search") == ""
    page.fill("#search", f"{FILMS.title(7)}; no such film")
    page.keyboard.press("Enter")
    page.wait_for_selector("#error:has-text('Nothing is called “no such film”')")
    assert page.locator("#history li").count() == 4


@browser_only
def test_two_recommenders_side_by_side_for_a_test_user(page: Any) -> None:
    page.click("#somebody")
    page.wait_for_selector("#history li")
    assert "which no model has seen" in page.inner_text("#next")
    page.select_option("#model", "item-knn")
    page.select_option("#beside", "popularity")
    page.click("#ask button")
    page.wait_for_selector(".column:nth-child(2) .listed")
    page.wait_for_selector(".column:nth-child(1) .listed")
    assert page.locator(".column h3").all_inner_texts() == ["item-knnNDCG@10 .1234", "popularity"]
    assert titles(page, ".column:nth-child(1)") != titles(page, ".column:nth-child(2)")


@browser_only
def test_likes_count_and_dislikes_stay_away(page: Any, url: str) -> None:
    page.select_option("#model", "item-knn")
    page.fill("#search", FILMS.title(20))
    page.wait_for_selector("#found [role=option]")
    page.keyboard.press("Enter")
    page.click("#ask button")
    page.wait_for_selector(".listed > li")
    first, second = titles(page, ".listed")[:2]
    page.click(f'[aria-label="Like {first}"]')
    page.wait_for_selector(f'[aria-label="Like {first}"][aria-pressed=true]')
    page.click(f'[aria-label="Not for me: {second}"]')
    page.wait_for_selector(f'[aria-label="Not for me: {second}"][aria-pressed=true]')
    assert page.locator("#history li").count() == 2
    guest = page.evaluate("() => localStorage.getItem('fathom-guest')")
    known = httpx.get(f"{url}/v1/people/{guest}").json()
    assert [item["title"] for item in known["history"]] == [first]
    assert [item["title"] for item in known["disliked"]] == [second]
    page.click("#ask button")
    page.wait_for_selector(".listed > li")
    page.wait_for_timeout(300)
    assert not {first, second} & set(titles(page, ".listed"))


@browser_only
def test_more_like_this(page: Any) -> None:
    page.select_option("#model", "popularity")
    page.click("#ask button")
    page.wait_for_selector(".listed > li")
    first = titles(page, ".listed")[0]
    page.click(f'[aria-label="More like {first}"]')
    page.wait_for_selector(".alike button")
    assert page.locator(".alike button").count() == 5
    page.click(".alike button >> nth=0")
    assert page.locator("#history li").count() == 1


@browser_only
def test_a_chat_refines(page: Any) -> None:
    page.fill("#message", "a comedy")
    page.keyboard.press("Enter")
    page.wait_for_selector("#said .listed > li")
    assert all("Comedy" in text for text in page.locator("#said .listed .about").all_inner_texts())
    before = titles(page, "#said li.it:nth-child(2)")
    page.fill("#message", "other ones")
    page.keyboard.press("Enter")
    page.wait_for_selector("#said li.it:nth-child(4) .listed > li")
    assert not set(before) & set(titles(page, "#said li.it:nth-child(4)"))


@browser_only
def test_titles_are_text_whatever_they_hold(page: Any, url: str) -> None:
    told = httpx.post(f"{url}/v1/items", json={"id": "evil", "title": "Evil <b>film</b> <img src=x onerror=alert(1)>"}).json()
    page.fill("#search", "Evil")
    page.wait_for_selector("#found [role=option]")
    page.keyboard.press("Enter")
    assert told["item"]["title"] in page.inner_text("#history")
    assert page.locator("#history img, #history b").count() == 0
    httpx.delete(f"{url}/v1/items/evil")


@browser_only
def test_errors_are_told_on_the_page_and_it_goes_on(page: Any, url: str) -> None:
    page.select_option("#model", "item-knn")
    page.route("**/v1/recommend", lambda route: route.fulfill(status=200, content_type="text/event-stream", body=BUSY))
    page.click("#ask button")
    page.wait_for_selector("#error:not([hidden])")
    assert page.inner_text("#error") == "come again"
    page.unroute("**/v1/recommend")
    page.click("#ask button")
    page.wait_for_selector(".listed > li")
    assert not page.is_visible("#error")


BUSY = 'event: error\ndata: {"error": {"message": "come again"}}\n\n'


@browser_only
def test_a_narrow_screen_and_a_dark_one(browser: Any, url: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 700}, color_scheme="dark")
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#model option[value=agent]", state="attached")
    page.click("#somebody")
    page.click("#ask button")
    page.wait_for_selector(".listed > li", timeout=SECONDS)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), "nothing has to be scrolled sideways"
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(15, 20, 23)"
    context.close()


@browser_only
def test_every_control_has_a_name_and_can_be_reached_by_keyboard(page: Any) -> None:
    page.click("#somebody")
    page.click("#ask button")
    page.wait_for_selector(".listed > li")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a")].filter(one =>
            !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length)).map(one => one.outerHTML)"""
    )
    assert nameless == []
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.tagName"))
    assert {"BUTTON"} <= reached


@browser_only
def test_a_key_is_asked_for(browser: Any, tmp_path: Path) -> None:
    with running(service_app([offer()], Store(tmp_path / "state.db"), keys=["s3cret"])) as url:
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector("#key[open]", timeout=SECONDS)
        page.fill("#secret", "s3cret")
        page.click("text=Go on")
        page.wait_for_selector("#model option[value=agent]", state="attached", timeout=SECONDS)
        context.close()


def test_the_files_of_the_page_are_the_only_ones(url: str) -> None:
    for path, (_, kind) in FILES.items():
        answer = httpx.get(f"{url}{path}")
        assert answer.headers["content-type"].startswith(kind)
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "http" not in answer.text.replace("https://", "http"), "nothing is named that would be fetched from elsewhere"
    for path in ("/../pages.py", "/static/app.js", "/%2e%2e/pages.py", "/app.js/", "/.env"):
        assert httpx.get(f"{url}{path}").status_code in (307, 404)
    told = httpx.get(f"{url}/docs").text
    assert "POST</strong> /v1/recommend" in told
    assert "Items that are wanted." in told
