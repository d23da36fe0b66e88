"""A tiny random model that reasons and ranks, over the films of `worlds`."""

from collections.abc import Sequence

from worlds import film_case, film_catalog

from fathom.language.builtin import tiny
from fathom.language.policy import LocalPolicy
from fathom.language.tokenizer import train_tokenizer
from fathom.reasoners.dual_head import DualHead
from fathom.reasoners.prompts import READ_TOKEN, READOUT, THOUGHTS, ReasonerSettings, item_prompts, user_prompt
from fathom.reasoners.reasoning import reason
from fathom.records import Case, Catalog, Reasoning, Reply
from fathom.training.contrastive import Excerpt
from fathom.training.lessons import Saying, lessons

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


def lessons_of(head: DualHead, cases: Sequence[Case], words: Sequence[str], catalog: Catalog) -> list[Excerpt]:
    """Lessons that teach to say `words` and to match behind them."""
    closing, said = head.policy.encode(READOUT), []
    for case, tokens in zip(cases, head.policy.table.encode_many(words), strict=True):
        said.append(Saying(case, (*tokens, *closing), [1.0] * (len(tokens) + len(closing)), closed=True))
    return lessons(head, said, catalog)


class Ending:
    """A conversation whose model writes words and then the read-out, whose last `spill` tokens it did not sample."""

    def __init__(self, prompts: list[tuple[int, ...]], text: str, words: tuple[int, ...], readout: tuple[int, ...], spill: int) -> None:
        self._rows = [(*prompt, *words, *readout) for prompt in prompts]
        logprobs = (-1.0,) * (len(words) + len(readout) - spill) + (0.0,) * spill
        self._reply = Reply(text + READOUT, (*words, *readout), logprobs, READOUT, spill)

    def reply(self, rows: range, stops: list[str], limits: list[int]) -> list[Reply]:
        return [self._reply for _ in rows]

    def tokens(self, row: int) -> tuple[int, ...]:
        return self._rows[row]


def ended(head: DualHead, cases: Sequence[Case], text: str, *, spill: int = 0) -> list[Reasoning]:
    """Reasonings that say `text` and end by themselves."""
    policy, words, readout = head.policy, head.policy.encode(text), head.policy.encode(READOUT)
    usual = policy.converse
    policy.converse = lambda prompts, **_: Ending(policy.table.encode_many(prompts), text, words, readout, spill)  # type: ignore[method-assign,assignment,return-value]
    try:
        return reason(head, cases, CATALOG)
    finally:
        policy.converse = usual  # type: ignore[method-assign]
