"""Write the tables of README.md anew from the committed results: `python scripts/readme.py`."""

from pathlib import Path

from fathom.evaluation.results import read
from fathom.files import write_text
from fathom.reports.tables import readme_table

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN = "<!-- results:begin (written by `make readme` from benchmarks/results/, never by hand) -->"
END = "<!-- results:end -->"


def tables(folder: Path) -> str:
    """One heading and table for each results file, in the order of their names; controls last."""
    parts = []
    for path in sorted(folder.glob("*.json"), key=lambda path: (path.stem.startswith("control-"), path.stem)):
        results = read(path)
        heading = f"### {path.stem}: {results.dataset.users:,} users, {results.dataset.items:,} items"
        machine = f"Machine: {results.machine['processor']}, {results.machine['cores']} cores, GPU: {results.machine['gpu']}."
        parts.append(f"{heading}\n\n{readme_table(results).rstrip()}\n{machine}\n")
    return "\n".join(parts)


def renewed(readme: str) -> str:
    """The README with the tables between its two marks replaced."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables(RESULTS)}\n{END}{after}"


if __name__ == "__main__":
    path = ROOT / "README.md"
    write_text(path, renewed(path.read_text(encoding="utf-8")))
