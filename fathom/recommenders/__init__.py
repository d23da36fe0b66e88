"""A history becomes a ranking. In: `Case`s and `Call`s. Out: `Ranking`s over the whole catalogue."""
