"""Recommenders are put to the question. In: a `Recommender` and `Case`s. Out: ranks per user, intervals, tests."""
