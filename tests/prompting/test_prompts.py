"""Prompts are files: golden texts, words of any domain, what a case has nothing for, mistakes told with their line (L1, L2)."""

from pathlib import Path

import pytest
import yaml

from fathom.errors import ConfigError
from fathom.prompting.prompts import Prompts, Words, numbered, prompts_of

FILMS = Words(singular="film", plural="films", took="watched", take="watch")
DOMAINS = {"film": FILMS, "game": Words(singular="game", plural="games", took="played", take="play"), "item": Words()}
FULL = {
    "history": numbered(["Heat", "Alien"]),
    "earlier": numbered(["Heat"]),
    "latest": "Alien",
    "candidates": numbered(["Aliens", "Emma"]),
    "count": "2",
    "candidate": "Emma",
    "first": "Aliens",
    "second": "Emma",
    "first_label": "K",
    "second_label": "C",
}
END = """These 2 films can be recommended next:
1. Aliens
2. Emma

Put all 2 in order, beginning with the one that this person is most likely to watch next.
You may think step by step first. Then write the list and nothing behind it: one film a line, numbered from 1 to 2,
each title exactly as it stands above, each one once."""
GOLDEN = {
    "sequential": f"A person watched these films, the oldest first:\n1. Heat\n2. Alien\n\n{END}",
    "recency": f"A person watched these films, the oldest first:\n1. Heat\n2. Alien\n\nThe latest film of all was Alien.\n\n{END}",
    "in-context": f"""A person watched these films, the oldest first:
1. Heat

Which film was right to recommend next? It was Alien: the person watched it.
So it belongs to the history now, and one more film is wanted.

{END}""",
    "pair": """A person watched these films, the oldest first:
1. Heat
2. Alien

Which of two films is this person more likely to watch next?
K. Aliens
C. Emma
Answer by K or C alone.""",
    "point": """A person watched these films, the oldest first:
1. Heat
2. Alien

How likely is this person to watch this film next?
Emma
Answer by a number alone, from 0 for never to 10 for certainly.""",
}


@pytest.mark.parametrize("strategy", GOLDEN)
def test_the_words_are_these(strategy: str) -> None:
    assert prompts_of("ranking", "ranking").render(strategy, FILMS, FULL) == GOLDEN[strategy]


def test_all_strategies_have_golden_words() -> None:
    assert set(prompts_of("ranking", "ranking").strategies) == set(GOLDEN)


@pytest.mark.parametrize("strategy", GOLDEN)
@pytest.mark.parametrize("domain", DOMAINS)
def test_no_word_of_one_domain_is_left_in_another(strategy: str, domain: str) -> None:
    text = prompts_of("ranking", "ranking").render(strategy, DOMAINS[domain], FULL)
    others = {word for name, words in DOMAINS.items() if name not in (domain, "item") for word in words.model_dump().values()}
    assert not others & set(text.replace(".", " ").replace(",", " ").split())
    assert "$" not in text


@pytest.mark.parametrize("strategy", ["sequential", "recency", "in-context"])
def test_somebody_new_is_said_to_be_new(strategy: str) -> None:
    text = prompts_of("ranking", "ranking").render(strategy, FILMS, FULL | {"history": "", "earlier": "", "latest": ""})
    assert text == f"Nothing is known of what a person watched before.\n\n{END}"


def test_a_file_of_one_s_own_needs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    blocks = {"all": "Wem ${took}? $$5!\n${history}\n${candidates}"}
    path.write_text(yaml.safe_dump({"family": "ranking", "version": 3, "blocks": blocks, "strategies": {"kurz": ["all"]}}))
    text = prompts_of(str(path), "ranking").render("kurz", FILMS, FULL, needs=("candidates",))
    assert text == "Wem watched? $5!\n1. Heat\n2. Alien\n1. Aliens\n2. Emma"
    with pytest.raises(ConfigError, match=r"strategy 'kurz' says nothing of \$\{count\}: one of its blocks must"):
        prompts_of(str(path), "ranking").render("kurz", FILMS, FULL, needs=("count",))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"blocks": {"all": "${histroy}"}}, r"block 'all' has the slot \$\{histroy\}; did you mean 'history'\?"),
        ({"blocks": {"all": "costs $5"}}, r"block 'all' has a '\$' that begins no slot"),
        ({"strategies": {"short": ["al"]}}, "strategy 'short' names the block 'al'; did you mean 'all'"),
        ({"instead": {"all": "nothing"}}, "instead of 'all' names the block 'nothing'"),
        ({"family": "rankin"}, "family 'rankin'; did you mean 'ranking'"),
        ({"strategy": {}}, "unknown setting 'strategy'; did you mean 'strategies'"),
        ({"version": 0}, "line 2"),
    ],
)
def test_a_file_that_cannot_be_is_told_by_name(change: dict[str, object], said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    whole: dict[str, object] = {"family": "ranking", "version": 1, "blocks": {"all": "${history}"}, "strategies": {"short": ["all"]}}
    path.write_text(yaml.safe_dump(whole | change, sort_keys=False))
    with pytest.raises(ConfigError, match=said) as told:
        prompts_of(str(path), "ranking")
    assert str(path) in str(told.value)


def test_prompts_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="prompts 'rankin': no file, and none that comes with Fathom; did you mean 'ranking'"):
        prompts_of("rankin", "ranking")
    assert isinstance(prompts_of("ranking", "ranking"), Prompts)
    with pytest.raises(ConfigError, match="strategy 'sequentiel'; did you mean 'sequential'"):
        prompts_of("ranking", "ranking").render("sequentiel", FILMS, FULL)
