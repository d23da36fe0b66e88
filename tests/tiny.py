"""The main job so small that all its stages together take seconds; no dropout, so that processes can be compared."""

FIT = {"epochs": 1, "batch_size": 4, "precision": "float32"}
STEP = {"steps": 1, "prompts": 2, "samples": 4, "micro_batch": 2, "learning_rate": 1e-5, "preflight": "warn"}
RECIPE = {
    "name": "tiny",
    "world": {"films": 60, "users": 24, "events": 8},
    "valid_users": 4,
    "test_users": 6,
    "encoder": "hashing",
    "hold_out": {"share": 0.3, "most": 3},
    "sasrec": {"model": {"width": 16, "length": 16, "dropout": 0.0}, "fit": FIT},
    "retriever": {"model": {"width": 16, "length": 16, "dropout": 0.0, "adaptor": "plain", "adaptor_dropout": 0.0}, "fit": FIT},
    "retriever_refit": FIT,
    "language": {
        "builtin": {"parameters": 2e6, "vocabulary": 600, "context": 512},
        "windows": {"row": 128},
        "pretrain": FIT,
        "refit": FIT,
    },
    "protocol": {
        "history_length": 5,
        "items_per_call": 12,
        "max_calls": 2,
        "segment_tokens": 80,
        "trajectory_tokens": 500,
        "prompt_tokens": 150,
        "constrained": True,
        "reminded": 3,
    },
    "traces": {"most": 16, "missed": 1.0, "teacher": "mix"},
    "imitate": {"fit": FIT},
    "stage1": STEP,
    "stage2": STEP,
}
