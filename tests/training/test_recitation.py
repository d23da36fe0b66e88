"""Recitations: what is repeated, what is exchanged, and what each token weighs."""

import numpy as np
import pytest
from pydantic import ValidationError
from worlds import film_catalog

from fathom.agents.protocol import ANSWER_OPEN, BEGIN_ITEMS, END_ITEMS, MARKERS, ProtocolSettings, answer_block, item_block
from fathom.language.builtin import tiny
from fathom.language.policy import LocalPolicy
from fathom.language.tokenizer import train_tokenizer
from fathom.records import Catalog
from fathom.training.packing import Document
from fathom.training.recitation import DISPLACED, Recitations, RecitationSettings

CATALOG = film_catalog()
TOKENIZER = train_tokenizer([title + "\n" for title in CATALOG.titles] * 20, 500, markers=MARKERS)
POLICY = LocalPolicy(tiny(TOKENIZER, width=32, layers=1, context=512, seed=0), TOKENIZER)
PROTOCOL = ProtocolSettings(answer_length=4, items_per_call=5)


def drawn(count: int = 40, *, row: int = 512, **settings: object) -> list[Document]:
    reciting = RecitationSettings.model_validate({"each_epoch": count, **settings})
    return Recitations(POLICY, CATALOG, settings=reciting, protocol=PROTOCOL, row=row).draw(np.random.default_rng(7))


def titles_in(text: str) -> list[str]:
    """The titles of numbered lines."""
    return [line.partition(". ")[2] for line in text.splitlines() if line[:1].isdigit()]


def shown_and_answered(document: Document) -> tuple[list[str], list[str]]:
    shown, _, answered = POLICY.decode(document.tokens.tolist()).partition(ANSWER_OPEN)
    return titles_in(shown), titles_in(answered)


def asked(document: Document) -> str:
    """The text that is asked for."""
    return POLICY.decode(document.tokens[document.weights > 0].tolist())


def test_where_nothing_was_moved_the_answer_repeats_the_first_list_and_all_of_it_is_asked() -> None:
    for document in drawn(lists=(1, 1, 1), moved=0.0):
        shown, answered = shown_and_answered(document)
        assert answered == shown[:4]
        assert len(set(shown)) == len(shown) in {5, 10, 15}
        _, opened, answer = POLICY.decode(document.tokens.tolist()).partition(ANSWER_OPEN + "\n")
        assert opened
        assert asked(document) == answer


def test_the_text_is_what_the_environment_and_a_trace_would_write() -> None:
    (document,) = drawn(1, lists=(1,), moved=0.0)
    text = POLICY.decode(document.tokens.tolist())
    shown, _ = shown_and_answered(document)
    items = [CATALOG.titles.index(title) + 1 for title in shown]
    assert text == item_block(items, CATALOG, PROTOCOL) + answer_block(items[:4], CATALOG)


def test_an_item_is_brought_forward_which_nobody_can_know_and_the_first_takes_its_place() -> None:
    from_elsewhere = 0
    for document in drawn(200, lists=(1, 1), moved=1.0):
        shown, answered = shown_and_answered(document)
        place = min(shown.index(answered[0]), 3)
        from_elsewhere += answered[0] not in shown[:4]
        assert place > 0
        assert answered[place] == shown[0]
        assert all(answered[other] == shown[other] for other in range(1, 4) if other != place)
        assert answered[0] + "\n" not in asked(document), "the title that was brought forward is only read"
        assert all(title + "\n" in asked(document) for title in answered[1:])
        heavy = POLICY.decode(document.tokens[document.weights == DISPLACED].tolist())
        assert heavy == shown[0] + "\n"
    assert 50 < from_elsewhere < 180


def test_the_same_generator_gives_the_same_bytes() -> None:
    for one, other in zip(drawn(), drawn(), strict=True):
        assert one.tokens.tobytes() + one.weights.tobytes() == other.tokens.tobytes() + other.weights.tobytes()


def test_what_does_not_fit_into_a_row_has_fewer_lists_or_is_left_out() -> None:
    longest = max(len(document.tokens) for document in drawn(lists=(1,)))
    assert all(POLICY.decode(document.tokens.tolist()).count(END_ITEMS) == 1 for document in drawn(lists=(0, 0, 1), row=longest))
    assert drawn(row=20) == []


def test_a_small_catalogue_is_recited_whole() -> None:
    small = Catalog(CATALOG.titles[:3], {})
    settings = RecitationSettings(each_epoch=5, lists=(0.0, 1.0))
    for document in Recitations(POLICY, small, settings=settings, protocol=PROTOCOL, row=512).draw(np.random.default_rng(0)):
        shown, answered = shown_and_answered(document)
        assert POLICY.decode(document.tokens.tolist()).count(BEGIN_ITEMS) == 1
        assert sorted(shown) == sorted(answered) == sorted(small.titles)


def test_proportions_that_are_none_are_refused() -> None:
    with pytest.raises(ValidationError, match="write one proportion for each number of lists"):
        RecitationSettings(lists=(0.0,))
