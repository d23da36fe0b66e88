"""A tokenizer trained on a few film lines and a tiny random model, shared by the tests of the language stage."""

import pytest
from transformers import PreTrainedTokenizerFast

from fathom.language.builtin import tiny
from fathom.language.policy import LocalPolicy
from fathom.language.tokenizer import train_tokenizer

MARKERS = ("<think>", "</think>", "<|end_of_item_list|>")
TITLES = ("Heat (1995)", "Alien (1979)", "Toy Story (1995)", "7. Dollars", "The Matrix", "Virtual Assistant", "Amélie", "Ran")


@pytest.fixture(scope="session")
def titles() -> tuple[str, ...]:
    return TITLES


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    history = "User:\n" + "".join(title + "\n" for title in TITLES) + "<think>\nperhaps something older\n</think>\n"
    listed = "".join(f"{place}. {title}\n" for place, title in enumerate(TITLES, start=1)) + "<|end_of_item_list|>\n"
    return train_tokenizer([history, listed] * 20 + ["a long description of something\n"], 600, markers=MARKERS)


@pytest.fixture(scope="session")
def policy(tokenizer: PreTrainedTokenizerFast) -> LocalPolicy:
    return LocalPolicy(tiny(tokenizer, width=64, layers=2, context=160, seed=0), tokenizer)
