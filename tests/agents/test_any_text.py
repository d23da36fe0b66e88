"""Whatever a model writes, an episode ends, says why, and keeps who wrote what."""

from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import Scripted, Shelves, asks, concludes, film_case, film_catalog

from fathom.agents.format import CHECKS
from fathom.agents.play import Finish, play
from fathom.agents.protocol import BEGIN_PREF, END_PREF, MARKERS, ProtocolSettings
from fathom.records import Ending

FILMS = film_catalog()
LIST = tuple(range(20, 30))
PIECES = st.sampled_from(
    [
        *MARKERS,
        *FILMS.titles,
        asks("war"),
        asks("love"),
        concludes(LIST, FILMS),
        concludes((1, 1), FILMS),
        "1. ",
        "\n",
        " ",
        "é卧",
        "Assistant:",
    ]
)
TEXTS = st.lists(st.lists(PIECES, max_size=6).map("".join), max_size=6)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(TEXTS, st.sampled_from(["written", "scored", "both"]), st.integers(1, 9), st.integers(120, 900))
def test_any_text_becomes_an_episode(texts: list[str], finish: Finish, max_calls: int, tokens: int) -> None:
    limits = ProtocolSettings(items_per_call=4, max_calls=max_calls, prompt_tokens=100, trajectory_tokens=tokens, segment_tokens=300)
    policy = Scripted(texts)
    [episode] = play(policy, Shelves(40), [film_case()], FILMS, limits, finish=finish)
    assert episode.ending in Ending
    assert set(episode.faults) <= set(CHECKS)
    assert len(episode.turns) <= max_calls
    assert len(episode.answer) == len(episode.lines)
    assert sorted(episode.scored) in (sorted(episode.retrieved), [])
    assert episode.tape is not None
    own = policy.decode([token for token, sampled in zip(episode.tape.tokens, episode.tape.sampled, strict=True) if sampled])
    assert policy.decode(episode.tape.tokens[episode.tape.prompt :]) == episode.text
    if episode.well_formed:
        assert episode.ending is Ending.ANSWERED
        assert own.count(BEGIN_PREF) == own.count(END_PREF) == len(episode.turns) > 0
        assert len(set(episode.answer)) == 10
