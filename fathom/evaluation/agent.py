"""What episodes tell about an agent beyond its ranking: does it keep the form, how far does it explore, what would fewer turns give?

Every function reads finished episodes; none plays or asks again, so a stored run can be judged anew.
An unreadable answer is a miss here, always: this is the strict reading. What a served user would see, with the retriever's
list in the place of an unreadable answer, is the business of `agents.recommender` and is evaluated like any recommender.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np

from fathom import metrics
from fathom.errors import DataError
from fathom.recommenders.mix import reciprocal_ranks
from fathom.records import Ending, Episode, Ints

Finish: TypeAlias = Literal["written", "scored"]
"""Which final list is judged: the one the model wrote, or everything retrieved in the order of its likelihoods."""

FUSION = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009)."""


def answer_ranks(episodes: Sequence[Episode], finish: Finish = "written") -> Ints:
    """(n,) strict rank of each target in the final list; 0 where it is not there or where there is no readable list.

    A written line that names no item keeps its place, so guessing costs what it takes; a title written twice counts once, at its first.
    """
    return np.array([_rank(episode.case.target, _final(episode, finish)) for episode in episodes], dtype=np.int64)


def agent_figures(episodes: Sequence[Episode], finish: Finish = "written", *, k: int = 10) -> dict[str, float]:
    """Named figures over all episodes; shares lie in 0..1. The names:

    - `format_valid`: share of episodes that pass every format check; `fault/<check>`: share that fails this one; `ending/<why>`: shares.
    - `invalid_items`, `duplicate_items`, `off_list`: share of written lines that name no item, name an item again, name one never shown.
    - `turns`: executed calls per episode; `distinct_preferences`: the share of calls that asked something not asked before.
    - `tokens`, `context_tokens`: tokens that the model wrote, and all tokens it had read at the end, per episode (with a tape only).
    - `seconds_per_user`: seconds of play per episode.
    - `strict_<metric>`: ranking metrics of `answer_ranks`; `recall_ceiling`: share of episodes in which the target was shown at all.
    - `ndcg@<k>/turns=<t>`: see `ndcg_by_turns`.
    """
    if not episodes:
        raise DataError("there are no episodes: figures of an agent need at least one")
    ranks = answer_ranks(episodes, finish)
    strict = {f"strict_{name}": float(metrics.per_case(name, ranks).mean()) for name in metrics.metric_names((1, 5, k))}
    by_turns = {f"ndcg@{k}/turns={t}": value for t, value in ndcg_by_turns(episodes, finish, k=k).items()}
    return {
        "format_valid": float(np.mean([episode.well_formed for episode in episodes])),
        **_line_figures(episodes),
        **_effort(episodes),
        "recall_ceiling": float(np.mean([episode.case.target in episode.retrieved for episode in episodes])),
        **strict,
        **by_turns,
        **{f"ending/{ending}": share for ending, share in endings(episodes).items()},
        **{f"fault/{name}": share for name, share in faults(episodes).items()},
    }


def endings(episodes: Sequence[Episode]) -> dict[Ending, float]:
    """The share of each ending that occurred, in the order in which endings are defined."""
    counted = Counter(episode.ending for episode in episodes)
    return {ending: counted[ending] / len(episodes) for ending in Ending if counted[ending]}


def faults(episodes: Sequence[Episode]) -> dict[str, float]:
    """The share of episodes that fail each format check, most frequent first; an episode may fail several."""
    counted = Counter(name for episode in episodes for name in episode.faults)
    return {name: count / len(episodes) for name, count in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))}


def ndcg_by_turns(episodes: Sequence[Episode], finish: Finish = "written", *, k: int = 10) -> Mapping[int, float]:
    """Turn limit t = 1.. -> mean NDCG@k of the list that the first t calls would have given.

    With the scored finish that list is the model's order of what those calls showed; with the written one, which names only the end
    of the conversation, it is the reciprocal rank fusion of those item lists. Nothing is played again, so the model's later words
    could still differ under a real limit: the profile says what the retrievals hold, not what another prompt would do.
    """
    longest = max((len(episode.turns) for episode in episodes), default=0)
    return {
        limit: float(metrics.ndcg(np.array([_rank(e.case.target, _after(e, limit, finish)) for e in episodes], dtype=np.int64), k).mean())
        for limit in range(1, longest + 1)
    }


def fused(lists: Sequence[Sequence[int]]) -> list[int]:
    """One list from several by reciprocal rank fusion: an item earns 1 / (60 + place) from each list; ties go to the smaller id.

    >>> fused([[5, 7], [7, 2]])
    [7, 5, 2]
    """
    earned = reciprocal_ranks(lists, FUSION)
    return sorted(earned, key=lambda item: (-earned[item], item))


def _after(episode: Episode, limit: int, finish: Finish) -> Sequence[int]:
    """The list that the first `limit` calls of an episode give."""
    shown = [turn.shown for turn in episode.turns[:limit]]
    if finish == "written":
        return fused(shown)
    seen = {item for items in shown for item in items}
    return [item for item in episode.scored if item in seen]


def _final(episode: Episode, finish: Finish) -> Sequence[int | None]:
    if finish == "scored":
        return episode.scored
    return episode.answer if episode.ending is Ending.ANSWERED else ()


def _rank(target: int, items: Sequence[int | None]) -> int:
    return list(items).index(target) + 1 if target in items else 0


def _line_figures(episodes: Sequence[Episode]) -> dict[str, float]:
    """Faults of the written lists, as shares of all lines that were written."""
    written = [(episode, item) for episode in episodes for item in episode.answer]
    named = [(episode, item) for episode, item in written if item is not None]
    repeated = sum(len(known) - len(set(known)) for known in ([i for i in episode.answer if i is not None] for episode in episodes))
    strange = sum(item not in episode.retrieved for episode, item in named)
    lines = max(len(written), 1)
    return {
        "invalid_items": (len(written) - len(named)) / lines,
        "duplicate_items": repeated / lines,
        "off_list": strange / lines,
    }


def _effort(episodes: Sequence[Episode]) -> dict[str, float]:
    """Calls, tokens and seconds per episode; token figures only where a tape was kept."""
    calls = sum(len(episode.turns) for episode in episodes)
    distinct = sum(len({turn.preference.casefold() for turn in episode.turns}) for episode in episodes)
    tapes = [episode.tape for episode in episodes if episode.tape is not None]
    tokens = {
        "tokens": sum(sum(tape.sampled) for tape in tapes) / max(len(tapes), 1),
        "context_tokens": sum(len(tape.tokens) for tape in tapes) / max(len(tapes), 1),
    }
    return {
        "turns": calls / len(episodes),
        "distinct_preferences": distinct / max(calls, 1),
        **(tokens if tapes else {}),
        "seconds_per_user": float(np.mean([episode.seconds for episode in episodes])),
    }
