"""A question in a sentence and its answer, for a terminal."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from rich.console import RenderableType
from rich.rule import Rule
from rich.text import Text

from fathom.p5.model import P5
from fathom.p5.sentences import Draw, Moment
from fathom.p5.templates import Template
from fathom.p5.writing import WritingSettings
from fathom.reports.episode import MARK, QUIET, TARGET, THOUGHT

SHOWN = 10


def answer_view(
    model: P5, template: Template, moment: Moment, lists: Mapping[int, Sequence[int]], *, writing: WritingSettings, tokens: bool
) -> Iterator[RenderableType]:
    """The question, what of the answer is given, and what the model answers; with `tokens` how the question is read."""
    draw = Draw(tuple(lists.get(moment.case.user, ())))
    source, given = model.sentences.ask(template, moment, draw)
    yield Rule(Text("question"), align="left", style="cyan")
    yield Text(source)
    if tokens:
        encoded = model.lexicon.encode(source)
        pieces = model.lexicon.tokenizer.convert_ids_to_tokens(encoded.tokens)
        yield Text(" ".join(f"{piece}/{word}" for piece, word in zip(pieces, encoded.words, strict=True)), style=QUIET)
    if given:
        yield Rule(Text("given of the answer"), align="left", style="cyan")
        yield Text(given)
    yield Rule(Text("answer"), align="left", style="cyan")
    yield from _answer(model, template, moment, draw, writing)


def _answer(model: P5, template: Template, moment: Moment, draw: Draw, writing: WritingSettings) -> Iterator[RenderableType]:
    if template.asks in ("next", "candidates"):
        if template.asks == "next":
            ranking = model.rank(template, [moment], SHOWN, exclude=[moment.case.history])
            pairs = [(item, score) for item, score in zip(ranking.items[0].tolist(), ranking.scores[0].tolist(), strict=True) if item]
        else:
            [scores] = model.choose(template, [moment], [draw.candidates])
            pairs = [(draw.candidates[place], float(scores[place])) for place in np.argsort(-scores, kind="stable")[:SHOWN].tolist()]
        for place, (item, score) in enumerate(pairs, start=1):
            title, called = model.sentences.catalog.title(item), model.sentences.ids[item - 1]
            right = item == moment.case.target
            named = "" if called == title else f"  {called}"
            yield Text(f"{place}. {f'{MARK} ' if right else ''}{title}{named}  {score:.2f} nats", style=TARGET if right else "")
    elif template.asks in ("stars", "review-stars"):
        yield Text(f"{model.stars(template, [moment])[0]:.2f} stars expected; {moment.stars:g} were given")
    elif template.answer == "verdict":
        yield Text(f"{model.judge(template, [moment], [draw])[0]:.0%} for '{template.verdicts[0]}'")
    else:
        [text] = model.write(template, [moment], writing)
        yield Text(text, style=THOUGHT)
        yield Text(f"the person wrote: {moment.headline if template.asks == 'headline' else moment.explanation}", style=QUIET)
