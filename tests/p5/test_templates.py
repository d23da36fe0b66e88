"""Templates are data in our own words; what cannot be asked is refused with its line (checklist P1, P2)."""

from pathlib import Path

import pytest

from fathom.errors import ConfigError
from fathom.p5.sentences import NOTHING, Draw, Moment, Sentences, SentenceSettings
from fathom.p5.templates import SLOTS, Template, families_of, family_of, own_families
from fathom.prompting.prompts import Words
from fathom.records import Case, Catalog
from tests.texttotext import catalogue, named

NEEDED = {"rating": 10, "sequential": 13, "explanation": 12, "review": 4, "direct": 8, "other-domain": 7}


@pytest.mark.parametrize("name", NEEDED)
def test_as_many_templates_as_the_paper_has(name: str) -> None:
    family = family_of(name)
    assert len(family.templates) >= NEEDED[name]
    assert any(template.held_out for template in family.templates.values()), "one wording is never trained on"


def test_no_two_templates_are_worded_alike() -> None:
    families = families_of(own_families())
    texts = [template.source for family in families.values() for template in family.templates.values()]
    assert len(set(texts)) == len(texts)


def test_the_other_domain_is_never_trained_on() -> None:
    assert family_of("other-domain").asked() == ()
    assert set(family_of("other-domain").asked(held_out=True)) == {"stars", "liked", "explanation"}


def test_a_template_and_a_family_of_ones_own_need_no_code(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("family: mine\nversion: 1\ntemplates:\n  mine-1: {asks: next, source: 'so far ${history}', target: '${item}'}\n")
    family = families_of(["rating", str(own)])["mine"]
    sentences = _sentences()
    moment = Moment(Case(0, (1, 2), 3))
    assert sentences.say(family.templates["mine-1"], moment, Draw()) == ("so far ‹item_1› , ‹item_2›", "‹item_3›")


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{asks: next, source: 'after ${histroy}', target: '${item}'}", r"\$\{histroy\}; did you mean 'history'"),
        ("{asks: next, source: 'after ${item}', target: '${item}'}", r"source has \$\{item\}"),
        ("{asks: stars, source: 'person ${user}', target: '${stars}'}", "must say"),
        ("{asks: stars, source: 'person ${user} ${item} ${stars}', target: '${stars}'}", r"source has \$\{stars\}"),
        ("{asks: explanation, source: '${review} of ${item}', target: '${explanation}'}", r"source has \$\{review\}"),
        ("{asks: next, source: 'after ${history}', target: 'that'}", "target must hold"),
        ("{asks: next, source: 'after ${history}', target: '${item} ${title}'}", "holds 2"),
        ("{asks: next, source: 'after ${history}', target: '${item} it is'}", "target must end with its answer"),
        ("{asks: next, source: 'costs 3$ after ${history}', target: '${item}'}", "begins no slot"),
        ("{asks: taken, source: '${item} ?', target: '${verdict}', verdicts: ['yes', 'yes']}", "two different words"),
        ("{asks: taken, source: '${item} ?', target: '${verdict}', verdicts: [yes, no]}", "in quotes"),
        ("{asks: recommend, source: '${item} ?', target: '${verdict}'}", "asks"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_line(tmp_path: Path, template: str, told: str) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text(f"family: mine\nversion: 1\ntemplates:\n  mine-1: {template}\n")
    with pytest.raises(ConfigError, match=told) as error:
        family_of(str(own))
    assert "mine.yaml line 4" in str(error.value)


def test_unknown_files_and_names_that_come_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'rating'"):
        family_of("ratng")
    with pytest.raises(ConfigError, match="there is a family 'rating' already"):
        families_of(["rating", "rating"])
    own = tmp_path / "mine.yaml"
    own.write_text("family: mine\nversion: 1\ntemplates:\n  rating-1: {asks: next, source: 'so far ${history}', target: '${item}'}\n")
    with pytest.raises(ConfigError, match="'rating-1' is a template of 'rating' already"):
        families_of(["rating", str(own)])


def _sentences(catalog: Catalog | None = None, people: tuple[str, ...] = ("Ann", "", "Cleo"), **changed: object) -> Sentences:
    chosen = SentenceSettings.model_validate(changed)
    return Sentences(catalogue() if catalog is None else catalog, named("one-token"), people, (1.0, 2.0, 3.0, 4.0, 5.0), chosen)


def _asking(asks: str, source: str, target: str) -> Template:
    return Template.model_validate({"asks": asks, "source": source, "target": target})


def test_a_missing_name_is_the_persons_number_and_a_stranger_has_none() -> None:
    template = _asking("next", "${name} ${user} ${history}", "${item}")
    told = [_sentences().say(template, Moment(Case(user, (), 1)), Draw())[0] for user in (0, 1, -1)]
    assert told == [f"Ann 1001 {NOTHING}", f"1002 1002 {NOTHING}", f"unknown unknown {NOTHING}"]


def test_a_missing_attribute_is_said_to_be_unknown() -> None:
    template = _asking("stars", "${title} of ${brand} for ${price}", "${stars}")
    catalog = Catalog(catalogue().names, catalogue().titles, {"brand": (("Moog",), *((),) * 19)})
    said = [_sentences(catalog).say(template, Moment(Case(0, (), item), 4.0), Draw())[0] for item in (1, 2)]
    assert said == ["Thing 1 of many of Moog for unknown price", "Thing 2 of many of unknown brand for unknown price"]


def test_histories_are_separated_as_is_drawn_and_cut_from_the_front() -> None:
    template = _asking("next", "${history}", "${item}")
    moment = Moment(Case(0, (1, 2, 3), 4))
    assert _sentences(history_length=2).say(template, moment, Draw(separator=" -> "))[0] == "‹item_2› -> ‹item_3›"


@pytest.mark.parametrize(("stars", "word"), [(3.5, "no"), (4.0, "yes"), (5.0, "yes")])
def test_from_four_stars_on_it_is_a_like(stars: float, word: str) -> None:
    template = _asking("liked", "${item} ?", "${verdict}")
    assert _sentences().say(template, Moment(Case(0, (), 1), stars), Draw())[1] == word


def test_what_stands_before_the_answer_is_given() -> None:
    template = family_of("continuation").templates["continuation-1"]
    moment = Moment(Case(0, (1, 2, 3, 4, 5), 6))
    sentences = _sentences(latest=2)
    assert sentences.ask(template, moment, Draw()) == ("person 1001 began with ‹item_1› ‹item_2› ‹item_3›", "‹item_4› ‹item_5›")
    assert sentences.say(template, moment, Draw())[1] == "‹item_4› ‹item_5› ‹item_6›"


def test_texts_cannot_spell_an_id() -> None:
    catalog = Catalog(catalogue().names, ("‹item_3›", *catalogue().titles[1:]))
    template = _asking("stars", "${title}", "${stars}")
    assert _sentences(catalog).say(template, Moment(Case(0, (), 1), 4.0), Draw())[0] == "<item_3>"


def test_words_of_the_domain_fill_slots_everywhere() -> None:
    words = Words(singular="film", plural="films", took="watched", take="watch")
    template = _asking("next", "${took} ${plural} : ${history} . which ${singular} to ${take} ?", "${item}")
    said, _ = _sentences(words=words).say(template, Moment(Case(0, (1,), 2)), Draw())
    assert said == "watched films : ‹item_1› . which film to watch ?"


def test_no_slot_says_the_answer_or_what_it_was_taken_from() -> None:
    assert not SLOTS["next"] & {"item", "title", "candidates"}
    assert "review" not in SLOTS["explanation"]
    assert "headline" not in SLOTS["headline"]
