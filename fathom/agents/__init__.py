"""Language model and retriever take turns. In: a `Policy`, a `Retrieve`, `Case`s. Out: `Episode`s and their rewards. No torch here."""
