"""One reasoning in the terminal and on a page: what was read, what was said, what is ranked behind it.

Every piece of catalogue or model text is put into `rich.text.Text` or through `html.escape`.
"""

from collections.abc import Sequence
from html import escape

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from fathom.records import Case, Catalog, Reasoning
from fathom.reports.cards import case_head, history_list, item_line, item_list
from fathom.reports.episode import FAULT, MARK, QUIET, TARGET, THOUGHT, case_title, history_text


def reasoning_view(reasoning: Reasoning, best: Sequence[tuple[int, float]], catalog: Catalog) -> Group:
    """The reasoning for a terminal, with the `best` items and their similarities behind it."""
    case = reasoning.case
    said = reasoning.text.strip() or "(nothing)"
    cut = ", read out because they had run out" if reasoning.forced and reasoning.written else ""
    parts: list[RenderableType] = [
        Rule(Text(case_title(case, catalog)), align="left", style="cyan"),
        history_text(case, catalog, 10),
        Text(),
        Text.assemble(("thinks  ", "bold"), (said, THOUGHT)),
        Text.assemble((f"{reasoning.written} tokens", QUIET), (cut, FAULT)),
        Text(),
        Text("ranks the whole catalogue", style="bold"),
    ]
    for place, (item, score) in enumerate(best, start=1):
        hit = item == case.target
        parts.append(Text(f"{place:>3}. {score:+.3f}  {MARK + ' ' if hit else ''}{catalog.title(item)}", style=TARGET if hit else ""))
    return Group(*parts)


def reasoning_outcome(reasoning: Reasoning, items: Sequence[int]) -> tuple[str, str]:
    """What became of it: a kind ('hit', 'miss') and a few words."""
    target = reasoning.case.target
    if not target:
        return "miss", "target unknown"
    return ("hit", f"ranked at place {list(items).index(target) + 1}") if target in items else ("miss", f"not among the first {len(items)}")


def reasoning_card(reasoning: Reasoning, items: Sequence[int], catalog: Catalog, key: str) -> str:
    """One reasoning as an HTML article; `key` is the name of its anchor."""
    case: Case = reasoning.case
    kind, verdict = reasoning_outcome(reasoning, items)
    said = "".join(f'<p class="thought">{escape(line.strip())}</p>' for line in reasoning.text.splitlines() if line.strip())
    how = f"{reasoning.written} tokens" + (", read out because they had run out" if reasoning.forced and reasoning.written else "")
    lines = [item_line(item, case.target, catalog, note="named" if catalog.title(item) in reasoning.text else "") for item in items]
    return (
        f"{case_head(case, catalog, key, kind=kind, verdict=verdict)}{history_list(case, catalog)}"
        f'<ol class="timeline"><li class="turn"><p class="label">Reasoning</p>{said or "<p class=quiet>Nothing was said.</p>"}'
        f'<p class="came">{escape(how)}</p></li>'
        f'<li class="answer"><p class="label">Ranked behind it</p>{item_list(lines, folded=False)}</li></ol></article>'
    )
