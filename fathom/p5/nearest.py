"""The floor of everything that is written: what somebody else has written already, in the review that is most like."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from fathom.contracts import TextEncoder
from fathom.p5.moments import Moments
from fathom.p5.sentences import Moment
from fathom.records import Floats, Ints


class NearestReview:
    """Says of an item what the training review says that is nearest: of the same item, if it has any, to what the person writes like.

    A person is the mean vector of the reviews that he or she wrote in training, a review its text's.
    """

    def __init__(self, train: Moments, encoder: TextEncoder) -> None:
        self._train = train
        self._encoder = encoder
        self._events: Ints = train.knowing({"review", "explanation"})
        self._headed: Ints = train.knowing({"review", "headline"})

    @cached_property
    def _vectors(self) -> Floats:
        """(n_events, d) of each event's review; zero where there is none."""
        known = self._train.knowing({"review"})
        texts = [self._train.at(event).review for event in known.tolist()]
        vectors = np.zeros((self._train.log.n_events, self._encoder.width), dtype=np.float32)
        vectors[known] = self._encoder.encode(texts)
        return vectors

    def explain(self, moments: Sequence[Moment]) -> list[str]:
        """An explanation for each: never the one to be guessed, which training does not hold."""
        log, found = self._train.log, []
        items = log.items[self._events]
        for moment in moments:
            user = moment.case.user
            own = self._vectors[log.offsets[user] : log.offsets[user + 1]].mean(axis=0) if 0 <= user < log.n_users else 0 * self._vectors[0]
            same = self._events[items == moment.case.target]
            choice = same if len(same) else self._events
            found.append(self._train.at(int(choice[np.argmax(self._vectors[choice] @ own)])).explanation)
        return found

    def headline(self, moments: Sequence[Moment]) -> list[str]:
        """The headline of the training review most like each one's own."""
        asked = self._encoder.encode([moment.review for moment in moments])
        best = np.argmax(asked @ self._vectors[self._headed].T, axis=1)
        return [self._train.at(int(self._headed[place])).headline for place in best.tolist()]
