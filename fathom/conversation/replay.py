"""What somebody who recommends would know at a point of a conversation that two other people had."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fathom.conversation.assistant import updated
from fathom.conversation.requests import Language, read_request
from fathom.conversation.shelves import Shelves
from fathom.conversation.state import START, Standing
from fathom.recommenders.among import ranking_of_lists
from fathom.records import Case, Ranking, Utterance


def standing_after(said: Sequence[Utterance], language: Language) -> Standing:
    """How things stand for whoever has heard all of `said`: what the seeker asks for, and what the recommender has named."""
    now = START
    for utterance in said:
        if utterance.speaker == "recommender":
            if utterance.items:
                now = replace(now, listed=utterance.items, shown=tuple(dict.fromkeys((*now.shown, *utterance.items))))
            continue
        request = read_request(utterance.text, language, now.listed)
        now = updated(replace(START, count=now.count) if request.restart else now, request)
    return now


@dataclass(frozen=True, slots=True)
class Heard:
    """A point of a conversation at which something is recommended."""

    standing: Standing
    shelves: Shelves
    """Made of conversations of other people."""
    filtered: bool = True
    """Whether hard filters are kept to."""


class Listener:
    """Keeps the `Recommender` seam for cases whose conversations were heard; of other cases the history is all that is known."""

    def __init__(self, heard: Mapping[tuple[int, tuple[int, ...]], Heard], stranger: Heard) -> None:
        """`heard`: user and history of a case -> what was said before."""
        self._heard = heard
        self._stranger = stranger

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k best items of each case that nobody has named; ties go to the smaller id."""
        lists, told = [], []
        for case in cases:
            items, scores = self.best(case, k, exclude_history=exclude_history)
            lists.append(items)
            told.append(scores)
        return ranking_of_lists(lists, told, k)

    def best(self, case: Case, k: int, *, exclude_history: bool = True) -> tuple[list[int], list[float]]:
        """The k best items of one case, and their scores."""
        one = self._heard.get((case.user, case.history), self._stranger)
        hidden = case.history if exclude_history else ()
        items, scores = one.shelves.ranked(one.standing.wishes, case.history, hidden, filtered=one.filtered)
        return items[:k], scores[:k]
