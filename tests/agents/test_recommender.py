"""An agent as a recommender: the lists that come out of good, short and unreadable answers."""

import numpy as np
from worlds import Scripted, Shelves, asks, concludes, film_case, film_catalog

from fathom.agents.play import Finish
from fathom.agents.protocol import ProtocolSettings
from fathom.agents.recommender import AgentRecommender, ranking_of
from fathom.records import PAD, Case, Ranking

FILMS = film_catalog()
SETTINGS = ProtocolSettings(items_per_call=5)


class Ascending:
    """Recommends 1, 2, 3, ... without the history."""

    def recommend(self, cases: list[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        hidden = [set(case.history) if exclude_history else set() for case in cases]
        return ranking_of([[item for item in range(1, 41) if item not in gone][:k] for gone in hidden], k)


def agent(*texts: str, strict: bool = False, finish: Finish = "written") -> AgentRecommender:
    return AgentRecommender(Scripted(texts), Shelves(40), FILMS, settings=SETTINGS, fallback=Ascending(), finish=finish, strict=strict)


def test_a_written_list_comes_first_and_the_fallback_completes_it() -> None:
    ranking = agent(asks("war"), concludes((30, 2, 29), FILMS)).recommend([film_case()], 6)
    assert ranking.items.tolist() == [[30, 2, 29, 1, 3, 4]]
    assert ranking.scores.tolist() == [[0, -1, -2, -3, -4, -5]]


def test_in_strict_mode_a_list_is_the_agents_own() -> None:
    ranking = agent(asks("war"), concludes((30, 2, 29), FILMS), strict=True).recommend([film_case()], 5)
    assert ranking.items.tolist() == [[30, 2, 29, PAD, PAD]]
    assert np.isneginf(ranking.scores[0, 3:]).all()


def test_an_unreadable_answer_is_the_fallbacks_list_or_a_miss() -> None:
    assert agent("no").recommend([film_case()], 3).items.tolist() == [[1, 2, 3]]
    assert agent("no", strict=True).recommend([film_case()], 3).items.tolist() == [[PAD] * 3]


def test_the_history_and_repeated_or_unknown_titles_are_left_out() -> None:
    text = concludes((17, 30, 30, 2), FILMS).replace("4. ", "4. No such film\n5. ")
    assert agent(text, strict=True).recommend([film_case()], 3).items.tolist() == [[30, 2, PAD]]
    assert agent(text, strict=True).recommend([film_case()], 3, exclude_history=False).items.tolist() == [[17, 30, 2]]


def test_the_scored_finish_ranks_everything_retrieved() -> None:
    one = agent(asks("war"), asks("love"), concludes((30,), FILMS), finish="scored", strict=True)
    items = one.recommend([film_case()], 12).items[0]
    [episode] = one.episodes
    assert items.tolist() == [*episode.scored, PAD, PAD]
    assert len(episode.scored) == 10


def test_the_episodes_of_the_last_call_are_kept() -> None:
    one = agent(asks("war"), concludes((30,), FILMS))
    cases = [film_case(history=(17,)), film_case(history=(18,))]
    one.recommend(cases, 3)
    assert [episode.case for episode in one.episodes] == cases
    one.recommend(cases[:1], 3)
    assert len(one.episodes) == 1


def test_more_than_the_catalogue_holds_is_padded() -> None:
    row = agent(asks("war"), concludes((30,), FILMS)).recommend([film_case()], 60).items[0]
    assert sorted(row[row != PAD].tolist()) == [item for item in range(1, 41) if item not in (17, 18, 19)]
