"""A model that is learned again and again answers each case as it was before the case's window."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fathom.contracts import Recommender
from fathom.data.time_windows import TimeWindow
from fathom.models.model import AnyModel
from fathom.recommenders.ranked import joined
from fathom.records import Case, Ranking


class Timeline(Recommender):
    """One model a window. A session is somebody new to it, whatever its number; who belongs to no window is asked of the latest model."""

    def __init__(self, windows: Sequence[TimeWindow], load: Callable[[int], AnyModel]) -> None:
        """`load` opens the model that was learned before a window, by its number from 0."""
        self._window = {case.user: number for number, window in enumerate(windows) for case in (*window.valid, *window.test)}
        self._last = len(windows) - 1
        self._load = load
        self._open: tuple[int, AnyModel] | None = None

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k best items of each case, by the model of its window."""
        numbers = np.array([self._window.get(case.user, self._last) for case in cases], dtype=np.int64)
        order = np.argsort(numbers, kind="stable")
        parts = []
        for number in np.unique(numbers).tolist():
            asked = [replace(cases[place], user=-1) for place in order[numbers[order] == number]]
            parts.append(self._model(number).recommend(asked, k, exclude_history=exclude_history))
        ranking = joined(parts, k)
        back = np.argsort(order)
        return Ranking(ranking.items[back], ranking.scores[back])

    def _model(self, number: int) -> AnyModel:
        """The model of one window; cases come window by window, so the latest one is kept open."""
        if self._open is None or self._open[0] != number:
            self._open = number, self._load(number)
        return self._open[1]
