import numpy as np
import pytest

from fathom.data.titles import canonical
from fathom.records import Catalog
from fathom.training.preferences import NEUTRAL, PreferenceSettings, described, neutral, synthesise, title_words, wish

CATALOG = Catalog(
    names=("a", "b", "c", "d"),
    titles=("Heat (1995)", "The Silence of the Lambs (1991)", "Nameless", "Star Wars: A New Hope (1977)"),
    attributes={
        "genres": (("Crime", "Thriller"), ("Horror",), (), ("Sci-Fi",)),
        "director": (("Michael Mann",), (), (), ("George Lucas",)),
    },
)


def texts(count, *, target=1, recent=(), **changes):
    settings = PreferenceSettings(**changes)
    return [synthesise(CATALOG, target, recent, np.random.default_rng(seed), settings) for seed in range(count)]


def test_the_stated_shares_are_empty_and_neutral():
    made = texts(2000, empty=0.2, neutral=0.1)
    assert sum(text == "" for text in made) / 2000 == pytest.approx(0.2, abs=0.03)
    assert sum(text in NEUTRAL for text in made) / 2000 == pytest.approx(0.1, abs=0.03)


def test_most_wishes_speak_of_the_target_and_the_rest_of_a_recent_item():
    settings = PreferenceSettings(empty=0, neutral=0, recent=1)
    made = [synthesise(CATALOG, 1, (4, 2), np.random.default_rng(seed), settings) for seed in range(2000)]
    about_recent = sum("Horror" in text for text in made)
    about_old = sum("Sci-Fi" in text or "Lucas" in text for text in made)
    assert about_old == 0, "only the newest item is recent here"
    assert 0.3 * 0.3 < about_recent / 2000 < 0.3


def test_phrases_are_at_most_as_many_as_set():
    assert all(text.count(";") <= 1 for text in texts(300, empty=0, neutral=0, keep=1.0, phrases=2))


def test_phrases_that_are_not_shuffled_stand_in_the_catalogues_order():
    values = ["Crime", "Thriller", "Mann", "1990s"]
    for seed in range(50):
        settings = PreferenceSettings(keep=1.0)
        text = wish(CATALOG, 1, rng=np.random.default_rng(seed), settings=settings, shuffled=False)
        assert sorted(values, key=text.index) == values
    shuffled = [wish(CATALOG, 1, rng=np.random.default_rng(seed), settings=settings) for seed in range(50)]
    assert any(text.index("1990s") < text.index("Crime") for text in shuffled)


def test_title_words_are_rare_and_never_a_whole_title():
    rng = np.random.default_rng(0)
    made = [wish(CATALOG, 2, rng=rng, settings=PreferenceSettings(title_words=0.2)) for _ in range(1000)]
    quoting = [text for text in made if "Silence" in text or "Lambs" in text]
    assert 0.1 < len(quoting) / 1000 <= 0.25
    for item in range(1, 5):
        for seed in range(200):
            phrases = wish(CATALOG, item, rng=np.random.default_rng(seed), settings=PreferenceSettings(title_words=0.2)).split("; ")
            assert canonical(CATALOG.title(item)) not in map(canonical, phrases)


def test_a_one_word_title_is_not_quoted():
    assert title_words(CATALOG, 1) == []


def test_an_item_of_which_nothing_is_known_is_wished_for_neutrally():
    assert wish(CATALOG, 3, rng=np.random.default_rng(0), settings=PreferenceSettings()) in NEUTRAL
    assert described(CATALOG, 3) == ""


def test_the_decade_is_read_from_the_title():
    assert described(CATALOG, 1) == "Crime; Thriller; Michael Mann; 1990s"


def test_a_decade_attribute_comes_before_the_title():
    catalog = Catalog(names=("a",), titles=("Heat (1995)",), attributes={"decade": (("1980s",),)})
    assert described(catalog, 1) == "1980s"


def test_same_generator_same_text():
    assert texts(50) == texts(50)


def test_neutral_texts_hold_no_separator():
    assert all(";" not in text for text in NEUTRAL)
    assert neutral(np.random.default_rng(0)) in NEUTRAL
