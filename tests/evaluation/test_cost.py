from fathom.evaluation.cost import cost, peak_megabytes
from fathom.records import Case, Ending, Episode, Tape


def test_tokens_are_told_apart_by_who_wrote_them():
    tape = Tape(tokens=(1, 2, 3, 4, 5), sampled=(False, False, True, True, False), logprobs=(0.0, 0.0, -1.0, -1.0, 0.0), prompt=2)
    episode = Episode(Case(0, (), 1), (), "", (), (), (), (), Ending.ANSWERED, "", tape)
    spent = cost(4.0, 2, [episode, episode])
    assert (spent.written, spent.read) == (2, 3)
    assert (spent.seconds_per_user, spent.users_per_hour) == (2.0, 1800.0)


def test_nobody_served_costs_nothing():
    spent = cost(0.0, 0)
    assert (spent.seconds_per_user, spent.users_per_hour, spent.written) == (0.0, 0.0, 0.0)


def test_memory_is_counted_in_mebibytes():
    assert 10 < peak_megabytes() < 1e6
