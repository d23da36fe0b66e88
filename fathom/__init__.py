"""Fathom: recommenders that reason. The folders follow the way of the data.

1. `data`          logs become cases: sources, the built-in world, filters, splits
2. `items`         items become text and vectors: templates, encoders, exact search
3. `language`      one language model behind one seam: built-in, local, remote
4. `recommenders`  a history becomes a ranking: text, SASRec, the retriever
5. `prompting`     language models are asked as they are: prompts out, answers in
6. `agents`        language model and retriever take turns: protocol, play, rewards
7. `reasoners`     one language model reasons, then ranks by its hidden state
8. `training`      experience becomes weights: supervised, traces, reinforcement
9. `networks`      the meta-architecture: features, masking, block, heads, from a schema
10. `models`       the named models of the literature, all fitted, asked and saved alike
11. `p5`            every task is a sentence: templates, ids as words, one text-to-text model
12. `conversation` people say what they want, turn by turn: requests, filters, lists, reasons
13. `evaluation`   recommenders are put to the question: ranks, intervals, tests
14. `reports`      numbers become pages: tables, plots, one HTML file a run
15. `serving`      people and programs call it

In front of them stand `errors`, `settings`, `files`, `recipes`, `records`, `contracts` and `metrics`;
behind them `pipeline` and `cli`, which put the stages in order.
A stage may import itself and what stands before it, never what comes after.
"""

import os

# oneDNN compiles its kernels for each shape and keeps a thousand of them. No two batches of histories have the same shape, so they are
# of no further use and fill half a gigabyte in every process. It reads this when the first kernel is made.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
# TRL reports every trainer that begins, with the names of its classes, to the model hub. What people do with Fathom is theirs to tell.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
