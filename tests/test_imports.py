"""The folders follow the way of the data: a stage imports itself and what stands before it."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fathom

PACKAGE = Path(fathom.__file__).parent
FLOW = [
    "__init__",
    "errors",
    "settings",
    "files",
    "recipes",
    "records",
    "contracts",
    "metrics",
    "data",
    "items",
    "language",
    "recommenders",
    "prompting",
    "agents",
    "reasoners",
    "training",
    "networks",
    "models",
    "p5",
    "conversation",
    "evaluation",
    "reports",
    "serving",
    "pipeline",
    "cli",
]


def stages_imported(source: str) -> set[str]:
    """The stages that a module's text imports, wherever the import stands."""
    stages = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" if node.module == "fathom" else str(node.module) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        stages |= {name.split(".")[1] for name in names if name.startswith("fathom.") and name != "fathom.__version__"}
    return stages


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_data(path: Path) -> None:
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for other in stages_imported(path.read_text(encoding="utf-8")):
        assert FLOW.index(other) <= FLOW.index(here), f"{here} may not import {other}, which comes later"


def test_the_order_in_the_package_docstring_is_the_order_held() -> None:
    listed = [line.split("`")[1] for line in (fathom.__doc__ or "").splitlines() if line[:1].isdigit()]
    assert listed == [stage for stage in FLOW if stage in listed]


def modules_loaded_by(statement: str) -> set[str]:
    """The names of the modules that a fresh process has loaded after `statement`."""
    code = f"{statement}; import sys; print(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_agents_import_without_torch() -> None:
    assert "torch" not in modules_loaded_by(
        "import fathom.agents.play, fathom.agents.dialogue, fathom.agents.rewards, fathom.agents.recommender"
    )


def test_the_command_line_imports_nothing_heavy() -> None:
    loaded = modules_loaded_by("import fathom.cli")
    assert not loaded & {"torch", "polars", "transformers", "numpy", "pydantic"}


def test_a_service_needs_nothing_that_trains() -> None:
    """The container file installs what serves alone: what is imported here beside it would end the service at its start."""
    loaded = modules_loaded_by(
        "import fathom.pipeline.serve, fathom.pipeline.explore, fathom.pipeline.sequential.index, fathom.pipeline.ask"
    )
    assert not loaded & {
        "trl",
        "datasets",
        "vllm",
        "optuna",
        "sacrebleu",
        "rouge_score",
        "matplotlib",
        "tensorboard",
        "trackio",
        "mcp",
        "qdrant_client",
    }


def test_nothing_is_reported_to_anybody() -> None:
    code = "import fathom, huggingface_hub.constants as hub; print(hub.HF_HUB_DISABLE_TELEMETRY)"
    environment = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment).stdout
    assert said.strip() == "True", "TRL would report every trainer to the model hub"
