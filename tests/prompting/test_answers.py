"""Lists in every shape that language models give them (L3)."""

import pytest

from fathom.prompting.answers import Answer, read_order

FILMS = ("Alien (1979)", "Aliens (1986)", "Heat (1995)", "Matrix, The (1999)", "Emma (1996)", "Emma (2020)", "300 (2006)")
ALIEN, ALIENS, HEAT, MATRIX, EMMA, EMMA_2020, THREE_HUNDRED = range(7)

SHAPES = {
    "numbered": ("1. Heat (1995)\n2. Aliens (1986)\n3. Alien (1979)", [HEAT, ALIENS, ALIEN]),
    "parenthesis": ("1) Heat (1995)\n2) Aliens (1986)", [HEAT, ALIENS]),
    "in parentheses": ("(1) Heat (1995)\n(2) Aliens (1986)", [HEAT, ALIENS]),
    "number and colon": ("1: Heat (1995)\n2: Aliens (1986)", [HEAT, ALIENS]),
    "ranks": ("Rank 1: Heat (1995)\nRank 2: Aliens (1986)", [HEAT, ALIENS]),
    "ordinals": ("1st: Heat (1995)\n2nd: Aliens (1986)\n3rd: Alien (1979)", [HEAT, ALIENS, ALIEN]),
    "all ones": ("1. Heat (1995)\n1. Aliens (1986)\n1. Alien (1979)", [HEAT, ALIENS, ALIEN]),
    "bullets": ("- Heat (1995)\n- Aliens (1986)", [HEAT, ALIENS]),
    "stars": ("* Heat (1995)\n* Aliens (1986)", [HEAT, ALIENS]),
    "dots": ("• Heat (1995)\n• Aliens (1986)", [HEAT, ALIENS]),
    "nothing but titles": ("Heat (1995)\nAliens (1986)\nAlien (1979)", [HEAT, ALIENS, ALIEN]),
    "bold": ("1. **Heat (1995)**\n2. **Aliens (1986)**", [HEAT, ALIENS]),
    "bold with its number": ("**1. Heat (1995)**\n**2. Aliens (1986)**", [HEAT, ALIENS]),
    "bold number": ("**1.** Heat (1995)\n**2.** Aliens (1986)", [HEAT, ALIENS]),
    "italics": ("1. *Heat* (1995)\n2. _Aliens (1986)_", [HEAT, ALIENS]),
    "quoted": ('1. "Heat (1995)"\n2. “Aliens (1986)”', [HEAT, ALIENS]),
    "code": ("1. `Heat (1995)`\n2. `Aliens (1986)`", [HEAT, ALIENS]),
    "fenced": ("```\n1. Heat (1995)\n2. Aliens (1986)\n```", [HEAT, ALIENS]),
    "reasons behind a dash": ("1. Heat (1995) - a heist\n2. Aliens (1986) – more of them", [HEAT, ALIENS]),
    "reasons behind a colon": ("1. **Heat**: a heist\n2. Aliens (1986): more of them", [HEAT, ALIENS]),
    "reasons in parentheses": ("1. Heat (a heist)\n2. Aliens (1986) (more of them)", [HEAT, ALIENS]),
    "reasons below": ("1. Heat (1995)\n   - a heist, like The Matrix\n   A classic.\n2. Aliens (1986)\n   - more of them", [HEAT, ALIENS]),
    "blank lines": ("1. Heat (1995)\n\n2. Aliens (1986)\n\n\n3. Alien (1979)", [HEAT, ALIENS, ALIEN]),
    "preamble and farewell": ("Sure! Here is my ranking:\n\n1. Heat (1995)\n2. Aliens (1986)\n\nEnjoy!", [HEAT, ALIENS]),
    "years left out": ("1. Heat\n2. The Matrix\n3. Alien", [HEAT, MATRIX, ALIEN]),
    "year by equal titles": ("1. Emma (2020)\n2. Emma (1996)", [EMMA_2020, EMMA]),
    "equal titles without a year": ("1. Emma\n2. Emma", [EMMA, EMMA_2020]),
    "moved article": ("1. The Matrix (1999)\n2. Heat (1995)", [MATRIX, HEAT]),
    "case and punctuation": ("1. HEAT (1995)\n2. the matrix, (1999)", [HEAT, MATRIX]),
    "a letter wrong": ("1. Heat (1995)\n2. The Matrx (1999)", [HEAT, MATRIX]),
    "one title inside another": ("1. Aliens\n2. Alien", [ALIENS, ALIEN]),
    "numbers": ("3, 1, 2", [HEAT, ALIEN, ALIENS]),
    "numbers in brackets": ("[3] > [1] > [2]", [HEAT, ALIEN, ALIENS]),
    "numbers in lines": ("3\n1\n2", [HEAT, ALIEN, ALIENS]),
    "numbered numbers": ("1. 3\n2. 1\n3. 2", [HEAT, ALIEN, ALIENS]),
    "numbers with a word": ("My ranking: 3 > 1 > 2", [HEAT, ALIEN, ALIENS]),
    "named by a word": ("1. Item 3\n2. Item 1", [HEAT, ALIEN]),
    "a title that is a number": ("1. 300\n2. Heat", [THREE_HUNDRED, HEAT]),
    "greater": ("Heat (1995) > Aliens (1986) > Alien (1979)", [HEAT, ALIENS, ALIEN]),
    "commas": ("Heat (1995), Aliens (1986), Alien (1979)", [HEAT, ALIENS, ALIEN]),
    "commas behind a colon": ("The best are: Heat, Aliens, Alien", [HEAT, ALIENS, ALIEN]),
    "numbered in one line": ("1. Heat (1995), 2. Aliens (1986), 3. Alien (1979)", [HEAT, ALIENS, ALIEN]),
    "JSON": ('["Heat (1995)", "Aliens (1986)", "Alien (1979)"]', [HEAT, ALIENS, ALIEN]),
    "JSON over lines in a fence": ('Here:\n```json\n[\n  "Heat (1995)",\n  "Aliens (1986)"\n]\n```', [HEAT, ALIENS]),
    "JSON numbers": ("[3, 1, 2]", [HEAT, ALIEN, ALIENS]),
    "JSON objects": ('[{"rank": 1, "title": "Heat"}, {"rank": 2, "title": "Aliens"}]', [HEAT, ALIENS]),
    "JSON in an object": ('{"ranking": ["Heat", "Aliens"], "why": "heists"}', [HEAT, ALIENS]),
    "JSON by rank": ('{"2": "Aliens", "1": "Heat", "10": "Alien"}', [HEAT, ALIENS, ALIEN]),
    "JSON by score": ('{"Aliens": 0.2, "Heat": 0.9, "Alien": 0.1}', [HEAT, ALIENS, ALIEN]),
    "JSON ranks of titles": ('{"Aliens": 2, "Heat": 1, "Alien": 3}', [HEAT, ALIENS, ALIEN]),
    "table": ("| Rank | Title |\n|---|---|\n| 1 | Heat (1995) |\n| 2 | Aliens (1986) |", [HEAT, ALIENS]),
    "thoughts in tags": ("<think>1. Alien\n2. Aliens\n3. Heat</think>\n1. Heat\n2. Aliens", [HEAT, ALIENS]),
    "thoughts whose beginning was in the prompt": ("1. Alien\n2. Aliens\n3. Heat\n</think>\n1. Heat\n2. Aliens", [HEAT, ALIENS]),
    "steps first": ("1. They like action.\n2. They like old films.\n\nSo:\n1. Heat\n2. Aliens", [HEAT, ALIENS]),
    "the history first": ("You took:\n1. Alien\n2. Emma (1996)\n\nRanking:\n1. Heat\n2. Aliens", [HEAT, ALIENS]),
    "a draft and then the list": ("Draft:\n1. Alien\n2. Heat\n\nFinal:\n- Heat\n- Alien", [HEAT, ALIEN]),
    "prose": ("I would go for Heat first, and then for Aliens rather than Alien.", [HEAT, ALIENS, ALIEN]),
    "one title alone": ("Heat", [HEAT]),
    "a sentence about one": ("The best choice is Heat.", [HEAT]),
    "another language": ("Ich empfehle:\n1. Heat\n2. Aliens", [HEAT, ALIENS]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_list_is_read_whatever_its_shape(shape: str) -> None:
    reply, order = SHAPES[shape]
    assert list(read_order(reply, FILMS).order) == order


@pytest.mark.parametrize(
    ("reply", "unknown", "repeated"),
    [
        ("1. Heat\n2. Alien: Covenant\n3. Alien", ("Alien: Covenant",), 0),
        ("1. Heat\n2. Aliens\n3. Heat (1995)\n4. heat", (), 2),
        ("1. Heat\n2. Emma (1972)", ("Emma (1972)",), 0),
        ("[3, 1, 99, 3]", ("99",), 1),
    ],
)
def test_what_was_not_offered_and_what_comes_twice_is_counted(reply: str, unknown: tuple[str, ...], repeated: int) -> None:
    answer = read_order(reply, FILMS)
    assert (answer.unknown, answer.repeated) == (unknown, repeated)
    assert not answer.compliant


@pytest.mark.parametrize("reply", ["", "   \n", "I cannot help with that.", "```\n```", "[]", "{}", "1.\n2.\n3.", "Ich weiß es nicht."])
def test_no_list_is_an_order_of_nothing(reply: str) -> None:
    assert read_order(reply, FILMS) == Answer((), 7)


def test_what_is_not_named_comes_last_as_it_was_offered() -> None:
    answer = read_order("1. Heat\n2. Alien", FILMS)
    assert answer.missing == (ALIENS, MATRIX, EMMA, EMMA_2020, THREE_HUNDRED)
    assert answer.completed == (HEAT, ALIEN, ALIENS, MATRIX, EMMA, EMMA_2020, THREE_HUNDRED)
    whole = read_order("\n".join(f"{place}. {title}" for place, title in enumerate(reversed(FILMS), start=1)), FILMS)
    assert whole.compliant
    assert whole.completed == (6, 5, 4, 3, 2, 1, 0)


def test_equal_titles_are_named_one_after_the_other() -> None:
    assert read_order("1. Zelda\n2. Mario\n3. Zelda", ["Mario", "Zelda", "Zelda"]).order == (1, 0, 2)
