"""Logs become cases. In: files or the built-in world. Out: `Catalog`, `Interactions`, `Split`."""
