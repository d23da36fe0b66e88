"""Experience becomes weights. In: interactions, traces, episodes. Out: checkpoints and `metrics.jsonl`."""
