"""docs/serving.md names every route, tool and limit there is, and no other."""

import re
from pathlib import Path

from fathom.serving.limits import Limits
from fathom.serving.tools import TOOLS
from tests.serving.test_contract import ROUTES

DOC = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


def test_every_limit_stands_there_with_its_default() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", DOC, re.MULTILINE))
    assert {name: float(value.replace(",", "")) for name, value in told.items()} == {
        name: float(value) for name, value in Limits().model_dump().items()
    }


def test_every_route_and_tool_stands_there() -> None:
    assert {path for _, path in ROUTES if f"{path}`" not in DOC} == set()
    assert {name for name in TOOLS if f"`{name}`" not in DOC} == set()
