"""The coloured episode shows every turn, marks the target and reads no markup from titles."""

from io import StringIO

from rich.console import Console, RenderableType

from fathom.records import Catalog, Ending, Episode
from fathom.reports.episode import ENDINGS, episode_view, token_view


def printed(view: RenderableType) -> str:
    console = Console(width=120, file=StringIO(), record=True)
    console.print(view)
    return console.export_text()


def test_an_episode_is_shown_turn_by_turn(episodes: list[Episode], catalog: Catalog):
    text = printed(episode_view(episodes[0], catalog))
    assert "user 3, then took Alien (1979)" in text
    assert "Up (2009) · Heat (1995)" in text
    assert text.index("dark crime; 1990s") < text.index("science fiction horror") < text.index("final list")
    assert "1. ★ Alien (1979)" in text
    assert "names no item" in text
    assert "at place 1" in text


def test_titles_with_markup_are_printed_as_they_are(episodes: list[Episode], catalog: Catalog):
    text = printed(episode_view(episodes[0], catalog))
    assert "<script>alert('x')</script> [bold]&" in text
    assert "[REC] (2007)" in text


def test_a_failed_episode_says_why(episodes: list[Episode], catalog: Catalog):
    text = printed(episode_view(episodes[1], catalog))
    assert "somebody new" in text
    assert "wrote more than allowed" in text
    assert "answer_tags" in text
    assert "nothing came back" in text
    assert "not in the list, never shown" in text


def test_every_ending_has_words():
    assert set(ENDINGS) == set(Ending)


def test_tokens_are_counted_by_writer(episodes: list[Episode]):
    tape = episodes[0].tape
    assert tape is not None
    text = printed(token_view(tape, lambda tokens: f"<{tokens[0]}>"))
    assert "2 prompt  2 by the model  1 inserted" in text
    assert "<9><8><7><6><5>" in text
