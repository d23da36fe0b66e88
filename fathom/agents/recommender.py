"""An agent as a recommender: cases in, a ranking out, the conversations kept for whoever wants to read them."""

from collections.abc import Callable, Sequence

from fathom.agents.play import Finish, Listener, play
from fathom.agents.protocol import ProtocolSettings
from fathom.contracts import Policy, Recommender, Tool
from fathom.data.titles import TitleIndex
from fathom.recommenders.among import ranking_of
from fathom.records import PAD, Case, Catalog, Episode, Ranking


class AgentRecommender:
    """Keeps the `Recommender` contract by playing one episode a case, greedily.

    `finish` says which list counts: the written one, or the scored one; with 'both' it is the written one, and the
    scored ones stay in `episodes`. In strict mode a case gets what the agent's own list names and nothing else, an
    unreadable answer an empty row. In serving mode `fallback` completes lists that are too short, and stands in for
    those that cannot be read. Scores are 0, -1, -2, ...: an agent orders items, it does not weigh them.
    """

    episodes: tuple[Episode, ...] = ()
    """The episodes of the last call, in the order of its cases."""

    def __init__(
        self,
        policy: Policy,
        retrieve: Tool,
        catalog: Catalog,
        *,
        settings: ProtocolSettings,
        fallback: Recommender,
        finish: Finish = "written",
        strict: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._policy = policy
        self._retrieve = retrieve
        self._catalog = catalog
        self._titles = TitleIndex(catalog)
        self._settings = settings
        self._fallback = fallback
        self._finish: Finish = finish
        self._strict = strict
        self._progress = progress

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True, listener: Listener | None = None) -> Ranking:
        """The k best item ids of each case, best first; `PAD` and -inf where there are fewer. `listener` hears each turn at once."""
        self.episodes = tuple(
            play(
                self._policy,
                self._retrieve,
                cases,
                self._catalog,
                self._settings,
                finish=self._finish,
                titles=self._titles,
                progress=self._progress,
                listener=listener,
            )
        )
        fallback = None if self._strict else self._fallback
        return ranked(self.episodes, k, finish=self._finish, fallback=fallback, exclude_history=exclude_history)


class Played:
    """Finished episodes as a recommender of the very cases they were played for."""

    def __init__(self, episodes: Sequence[Episode], finish: Finish, fallback: Recommender) -> None:
        self._episodes = {(episode.case.user, len(episode.case.history)): episode for episode in episodes}
        self._finish = finish
        self._fallback = fallback

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The kept lists, completed by the fallback."""
        episodes = [self._episodes[case.user, len(case.history)] for case in cases]
        return ranked(episodes, k, finish=self._finish, fallback=self._fallback, exclude_history=exclude_history)


def ranked(episodes: Sequence[Episode], k: int, *, finish: Finish, fallback: Recommender | None, exclude_history: bool = True) -> Ranking:
    """The list of each finished episode as a row of k item ids; `fallback` completes those that are too short, None leaves them so."""
    lists = [own_list(episode, finish, exclude_history=exclude_history)[:k] for episode in episodes]
    short = [place for place, items in enumerate(lists) if len(items) < k]
    if short and fallback is not None:
        # k more than are missing: up to k of the fallback's items may stand in the list already.
        others = fallback.recommend([episodes[place].case for place in short], 2 * k, exclude_history=exclude_history)
        for place, row in zip(short, others.items.tolist(), strict=True):
            lists[place] += [item for item in row if item != PAD and item not in lists[place]][: k - len(lists[place])]
    return ranking_of(lists, k)


def own_list(episode: Episode, finish: Finish, *, exclude_history: bool = True) -> list[int]:
    """The items that the episode's list names, best first, none twice; what the person already has is left out if so asked."""
    named: Sequence[int | None] = episode.scored if finish == "scored" else episode.answer
    hidden = set(episode.case.history) if exclude_history else set()
    return [item for item in dict.fromkeys(named) if item is not None and item not in hidden]
