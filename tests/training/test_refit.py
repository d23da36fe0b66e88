"""The agent's own conversations, continued with what really followed."""

import numpy as np
from worlds import Scripted, Shelves, asks, film_catalog

from fathom.agents.protocol import ANSWER_OPEN, THINK_CLOSE, ProtocolSettings, reminder
from fathom.data.titles import TitleIndex
from fathom.records import Case
from fathom.training.refit import first_ends, own_traces
from fathom.training.traces import Trace

CATALOG = film_catalog()
PROTOCOL = ProtocolSettings(answer_length=4, items_per_call=4, segment_tokens=200, trajectory_tokens=1200, prompt_tokens=400, max_calls=2)
REMINDED = PROTOCOL.model_copy(update={"constrained": True, "reminded": 2})
PERSON = (17, 25, 35, 4, 9, 2, 30)
CASES = (*(Case(0, PERSON[:end], PERSON[end]) for end in range(3, 7)), Case(1, (18, 20), 5))


def made(protocol: ProtocolSettings, *, longest: int = 10_000, script: tuple[str, ...] = ()) -> list[Trace]:
    """What a scripted agent would be continued on, asked for the first case of either person."""
    policy = Scripted(script or (asks("war"), f"Fits best: war.\n{THINK_CLOSE}\n{ANSWER_OPEN}"))
    titles = TitleIndex(CATALOG)
    numbers = [0, 4]
    return own_traces(
        policy, Shelves(40), CASES, CATALOG, protocol=protocol, titles=titles, numbers=numbers, own_weight=0.25, longest=longest
    )


def spelled(trace: Trace, weight: float | None = None) -> str:
    """The text of a trace, or of its tokens of one weight; the scripted policy has a token for each byte."""
    chosen = trace.tokens if weight is None else trace.tokens[np.isclose(trace.weights, weight)]
    return bytes(chosen.tolist()).decode()


def test_behind_the_agents_own_words_stands_what_followed() -> None:
    first, second = made(REMINDED)
    for trace, case, followed in ((first, CASES[0], PERSON[3:]), (second, CASES[4], (5,))):
        head, said = spelled(trace).split(reminder(case, CATALOG, REMINDED))
        assert said == "".join(f"{CATALOG.title(item)}\n" for item in followed) == spelled(trace, 1.0)
        assert head.endswith(ANSWER_OPEN)
        assert spelled(trace, 0.25) == f"{asks('war')}Fits best: war.\n{THINK_CLOSE}\n{ANSWER_OPEN}"
        assert len(trace.episode.turns) == 1


def test_without_a_reminder_the_target_stands_in_the_first_line() -> None:
    first, second = made(PROTOCOL)
    assert spelled(first, 1.0) == f"\n1. {CATALOG.title(4)}\n"
    assert spelled(second, 1.0) == f"\n1. {CATALOG.title(5)}\n"


def test_what_is_too_long_or_malformed_is_left_out() -> None:
    lengths = sorted(len(trace.tokens) for trace in made(REMINDED))
    assert [len(trace.tokens) for trace in made(REMINDED, longest=lengths[0])] == lengths[:1]
    assert made(REMINDED, script=(f"No call at all.\n{THINK_CLOSE}\n{ANSWER_OPEN}",)) == []


def test_every_person_is_asked_once() -> None:
    assert first_ends(CASES, 0, seed=1) == [0, 4]
    assert first_ends(CASES, 1, seed=1) in ([0], [4])
    assert first_ends(CASES, 9, seed=1) == [0, 4]
    assert {tuple(first_ends(CASES, 1, seed=seed)) for seed in range(20)} == {(0,), (4,)}
