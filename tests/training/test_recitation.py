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


def first_list(document: Document) -> list[str]:
    return titles_in(POLICY.decode(document.tokens.tolist()).partition(END_ITEMS)[0])


def test_where_nothing_was_moved_the_answer_repeats_the_first_list_and_all_of_it_is_asked() -> None:
    sizes = set()
    for document in drawn(lists=(1, 1, 1), moved=0.0):
        shown, answered = shown_and_answered(document)
        sizes.add(len(first_list(document)))
        assert answered == first_list(document)[:4]
        assert len(set(shown)) == len(shown)
        _, opened, answer = POLICY.decode(document.tokens.tolist()).partition(ANSWER_OPEN)
        assert opened
        assert asked(document) == answer
    assert sizes == {2, 3, 4, 5}


def test_the_text_is_what_the_environment_and_a_trace_would_write() -> None:
    for document in drawn(9, lists=(1,), moved=0.0):
        items = [CATALOG.titles.index(title) + 1 for title in first_list(document)]
        assert POLICY.decode(document.tokens.tolist()) == item_block(items, CATALOG, PROTOCOL) + answer_block(items[:4], CATALOG)


def test_an_item_is_brought_forward_which_nobody_can_know_and_the_first_takes_its_place() -> None:
    from_elsewhere = 0
    for document in drawn(200, lists=(1, 1), moved=1.0):
        shown, answered = shown_and_answered(document)
        length = min(4, len(first_list(document)))
        assert len(answered) == length
        place = min(shown.index(answered[0]), length - 1)
        from_elsewhere += answered[0] not in shown[:length]
        assert place > 0
        assert answered[place] == shown[0]
        assert all(answered[other] == shown[other] for other in range(1, length) if other != place)
        assert answered[0] + "\n" not in asked(document), "the title that was brought forward is only read"
        assert all(title + "\n" in asked(document) for title in answered[1:])
        assert POLICY.decode(document.tokens[document.weights == DISPLACED].tolist()) == shown[0] + "\n"
    assert 50 < from_elsewhere < 180


def test_the_same_generator_gives_the_same_bytes() -> None:
    for one, other in zip(drawn(), drawn(), strict=True):
        assert one.tokens.tobytes() + one.weights.tobytes() == other.tokens.tobytes() + other.weights.tobytes()


def test_what_does_not_fit_into_a_row_has_fewer_lists_or_is_left_out() -> None:
    longest = max(len(document.tokens) for document in drawn(200, lists=(1,)))
    assert all(len(document.tokens) <= longest for document in drawn(lists=(0, 0, 1), row=longest))
    assert drawn(row=5) == []


def test_a_catalogue_of_three_is_recited_and_one_of_a_single_item_is_not() -> None:
    settings = RecitationSettings(each_epoch=9, lists=(0.0, 1.0))
    for size in (3, 1):
        small = Catalog(CATALOG.names[:size], CATALOG.titles[:size], {})
        made = Recitations(POLICY, small, settings=settings, protocol=PROTOCOL, row=512).draw(np.random.default_rng(0))
        assert bool(made) == (size > 1)
        for document in made:
            assert POLICY.decode(document.tokens.tolist()).count(BEGIN_ITEMS) == 1, "two lists of two do not find four items"
            assert set(shown_and_answered(document)[1]) == set(first_list(document))


def test_proportions_that_are_none_are_refused() -> None:
    with pytest.raises(ValidationError, match="write one proportion for each number of lists"):
        RecitationSettings(lists=(0.0,))
