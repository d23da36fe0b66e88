"""One language model reasons, then ranks the whole catalogue by its own hidden state (R²ec, arXiv:2505.16994).

In: a `LocalPolicy`, a `Catalog`, `Case`s. Out: reasoning in words and a `Ranking`.
"""
