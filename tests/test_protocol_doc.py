"""The conversations that docs/protocol.md shows are the ones that the code writes, byte for byte."""

from pathlib import Path

import pytest

from fathom.agents.protocol import ProtocolSettings, answer_block, item_block, opening, preference_block
from fathom.records import Case, Catalog

TEXT = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text(encoding="utf-8")
FILMS = Catalog(
    tuple("abcdefgh"),
    (
        "The Quiet Lighthouse (1994)",
        "Night Train to Corvo (2003)",
        "Salt and Thunder (1988)",
        "The Quiet Lighthouse II (1997)",
        "Winter Orchard (1996)",
        "A Map of Rain (2001)",
        "Harbour Lights (1992)",
        "The Last Ferry (1999)",
    ),
    {"genres": (("Drama",), ("Thriller",), ("Adventure",), ("Drama",), ("Drama", "Romance"), ("Drama",), ("Romance",), ("Thriller",))},
)
CASE = Case(user=0, history=(1, 2, 3), target=4, ratings=(5.0, 4.0, 2.0))


def conversation(prompt: str) -> str:
    """A whole episode with two calls: what the model writes and what it is shown."""
    ratings = prompt == "compact"
    settings = ProtocolSettings(prompt=prompt, answer_length=3, items_per_call=3, max_calls=4, history_ratings=ratings)  # type: ignore[arg-type]
    return (
        opening(CASE, FILMS, settings)
        + "Lately: Drama and Adventure.\n"
        + preference_block(["no particular wish"])
        + item_block((5, 8, 6), FILMS, settings)
        + "Shown: Drama and Romance.\n"
        + preference_block(["Drama", "made in the 1990s", "more about the lighthouse"])
        + item_block((4, 7), FILMS, settings)
        + "Fits best: Drama and the lighthouse.\n"
        + answer_block((4, 5, 7), FILMS)
        + "\n"
    )


@pytest.mark.parametrize("prompt", ["compact", "long"])
def test_the_document_shows_what_the_code_writes(prompt: str) -> None:
    shown = TEXT.partition(f"<!-- {prompt} -->\n```text\n")[2].partition("```\n")[0]
    assert shown == conversation(prompt)
