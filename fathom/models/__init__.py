"""Named models that learn from logs: each one file, which fits, ranks, saves and loads, and one line in `registry.py`."""
