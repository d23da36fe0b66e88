"""A tiny random model that reasons and ranks, over the films of `worlds`."""

from worlds import film_case, film_catalog

from fathom.language.builtin import tiny
from fathom.language.policy import LocalPolicy
from fathom.language.tokenizer import train_tokenizer
from fathom.reasoners.dual_head import DualHead
from fathom.reasoners.prompts import READ_TOKEN, THOUGHTS, ReasonerSettings, item_prompts, user_prompt
from fathom.records import Case, Catalog

CATALOG = film_catalog()
SETTINGS = ReasonerSettings(history_length=6, reasoning_tokens=12, prompt_tokens=120, item_tokens=60)
CASES = tuple(film_case(history=(17 + place % 5, 25 + place % 7, 35, 36 - place % 3), target=1 + place % 12) for place in range(12))
CORPUS = [
    *(title + "\n" for title in CATALOG.titles),
    *item_prompts(CATALOG, SETTINGS),
    *(user_prompt(case, CATALOG, SETTINGS) for case in CASES),
]
TOKENIZER = train_tokenizer([*CORPUS * 5, "Lately: Comedy and Drama.<answer>\n"] * 3, 500, markers=(THOUGHTS, READ_TOKEN))


def tiny_policy(seed: int = 1, *, context: int = 256) -> LocalPolicy:
    return LocalPolicy(tiny(TOKENIZER, width=64, layers=2, context=context, seed=seed), TOKENIZER)


def tiny_head(catalog: Catalog = CATALOG, seed: int = 1, *, context: int = 256, **settings: object) -> DualHead:
    """With a fresh table."""
    head = DualHead(
        tiny_policy(seed, context=context), catalog, ReasonerSettings.model_validate(SETTINGS.model_dump(exclude_unset=True) | settings)
    )
    head.refresh()
    return head


def many_cases(count: int) -> list[Case]:
    return [CASES[place % len(CASES)] for place in range(count)]
