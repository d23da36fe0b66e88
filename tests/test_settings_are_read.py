"""Every setting is read somewhere: a field that nothing reads is a promise that nothing keeps."""

import ast
from pathlib import Path

import fathom

PACKAGE = Path(fathom.__file__).parent


def fields_and_reads() -> tuple[dict[str, str], set[str]]:
    """Names of all settings fields with where they are declared, and all attribute names read in the package."""
    fields: dict[str, str] = {}
    reads: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                reads.add(node.attr)
            if isinstance(node, ast.ClassDef) and any("Settings" in ast.unparse(base) for base in node.bases):
                for line in node.body:
                    if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                        fields[line.target.id] = f"{path.relative_to(PACKAGE)}: {node.name}"
    return fields, reads


def test_every_settings_field_is_read() -> None:
    fields, reads = fields_and_reads()
    assert fields, "the settings classes are found"
    assert not {name: place for name, place in fields.items() if name not in reads}


def test_every_settings_field_is_explained() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Settings" for base in node.bases):
                for line, following in zip(node.body, node.body[1:] + [node.body[-1]], strict=True):
                    if isinstance(line, ast.AnnAssign):
                        explained = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                        assert explained, f"{path.name}: {node.name}.{ast.unparse(line.target)} has no docstring"
