"""Write the bodies of the controls' recipes anew from the demo's: `python scripts/controls.py`."""

import re
from pathlib import Path

from fathom.files import write_text

RECIPES = Path(__file__).parent.parent / "recipes"
CHANGES = {
    "control-shuffled": ((r"^(stage[12]: \{.*)\}$", r"\1, shuffle_rewards: true}"),),
    "control-planted": ((r"^(world: \{.*)\}$", r"\1, planted: true}"), (r"^(protocol: \{.*)\}$", r"\1, history_ratings: true}")),
}
"""Recipe -> what is replaced in the demo's lines."""


def controls() -> dict[str, str]:
    """The text of each control: its own comments, its name, and the demo's settings with its changes."""
    demo = (RECIPES / "demo.yaml").read_text(encoding="utf-8").partition("name: demo\n")[2]
    made = {}
    for name, changes in CHANGES.items():
        head = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8").partition("name: ")[0]
        body = demo
        for found, written in changes:
            body = re.sub(found, written, body, flags=re.MULTILINE)
        made[name] = f"{head}name: {name}\n{body}"
    return made


if __name__ == "__main__":
    for name, text in controls().items():
        write_text(RECIPES / f"{name}.yaml", text)
