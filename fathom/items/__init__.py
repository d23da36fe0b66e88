"""Items become text and vectors. In: `Catalog`. Out: texts, (n_items + 1, d) vectors, exact top-k."""
