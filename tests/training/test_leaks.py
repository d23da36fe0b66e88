"""What comes after the training cut reaches nobody: traces, pretraining texts and questions of reinforcement learning."""

from collections.abc import Sequence

import numpy as np
from worlds import Shelves, film_catalog

from fathom.agents.protocol import MARKERS, ProtocolSettings, opening
from fathom.data.splits import hold_out, leave_one_out
from fathom.language.builtin import tiny
from fathom.language.policy import LocalPolicy
from fathom.language.tokenizer import train_tokenizer
from fathom.records import Case, Interactions, Ranking
from fathom.training.preferences import PreferenceSettings
from fathom.training.questions import select_cases
from fathom.training.traces import TraceSettings, build_traces

CATALOG = film_catalog()
PROTOCOL = ProtocolSettings(answer_length=3, items_per_call=6)
USERS, LENGTH = 25, 12


def world() -> Interactions:
    rng = np.random.default_rng(7)
    walks = np.stack([rng.permutation(CATALOG.n_items)[:LENGTH] + 1 for _ in range(USERS)])
    offsets = np.arange(USERS + 1, dtype=np.int64) * LENGTH
    return Interactions(tuple(f"u{user}" for user in range(USERS)), offsets, walks.reshape(-1).astype(np.int64))


def with_other_future(interactions: Interactions) -> Interactions:
    """The same log, but everybody's last two events, which are validation and test, are others."""
    items = interactions.items.reshape(USERS, LENGTH).copy()
    items[:, -2:] = items[:, -2:] % CATALOG.n_items + 1
    return Interactions(interactions.users, interactions.offsets, items.reshape(-1))


class Walker:
    """Ranks by distance on the ids from the last event; trained on nothing."""

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        rows = [sorted(range(1, CATALOG.n_items + 1), key=lambda item: abs(item - case.history[-1]))[:k] for case in cases]
        return Ranking(np.array(rows, dtype=np.int64), np.zeros((len(rows), k), dtype=np.float32))


def everything_learned_from(interactions: Interactions) -> dict[str, bytes]:
    """All that traces, pretraining and reinforcement learning see, as bytes."""
    train = leave_one_out(interactions).train
    fit_part, cases = hold_out(train, share=0.3, most=3, keep=4)
    texts = [CATALOG.title(int(item)) + "\n" for user in range(fit_part.n_users) for item in fit_part.history(user)]
    tokenizer = train_tokenizer(texts * 5, 400, markers=MARKERS)
    policy = LocalPolicy(tiny(tokenizer, width=32, layers=1, context=512, seed=1), tokenizer)
    traces = build_traces(
        policy,
        cases,
        CATALOG,
        retrieve=Shelves(CATALOG.n_items),
        settings=TraceSettings(),
        preferences=PreferenceSettings(),
        protocol=PROTOCOL,
        seed=3,
    )
    questions = select_cases(cases, Walker(), hardest=20, parts=2, seed=3)
    return {
        "fit part": fit_part.items.tobytes(),
        "pretraining": "".join(texts).encode(),
        "tokenizer": tokenizer.backend_tokenizer.to_str().encode(),
        "traces": b"".join(trace.tokens.tobytes() + trace.weights.tobytes() for trace in traces),
        "prompts": "".join(opening(case, CATALOG, PROTOCOL) for part in questions for case in part).encode(),
        "questions": repr(questions).encode(),
    }


def test_nothing_learned_depends_on_what_comes_after_the_cut() -> None:
    log = world()
    other = with_other_future(log)
    assert leave_one_out(log).test != leave_one_out(other).test
    assert leave_one_out(log).valid != leave_one_out(other).valid
    before, after = everything_learned_from(log), everything_learned_from(other)
    assert {name for name in before if before[name] != after[name]} == set()


def test_the_check_would_notice_a_change_before_the_cut() -> None:
    log = world()
    items = log.items.copy()
    items[LENGTH - 3] = items[LENGTH - 3] % CATALOG.n_items + 1  # the last training event of the first user: held out for an episode
    before = everything_learned_from(log)
    after = everything_learned_from(Interactions(log.users, log.offsets, items))
    assert before["pretraining"] == after["pretraining"], "held-out events are nobody's pretraining text"
    assert before["traces"] != after["traces"]
