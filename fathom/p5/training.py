"""All tasks are learned together by one language-model loss (P5, arXiv:2203.13366, section 3.3)."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from accelerate import Accelerator
from pydantic import Field, field_validator
from torch import Tensor, nn

from fathom.contracts import Validate
from fathom.errors import ConfigError, suggestion
from fathom.p5.identifiers import Identifiers, Known, identifiers
from fathom.p5.lessons import SAMPLING, LessonBatch, LessonEpoch, LessonPlan, Said, pieces_of
from fathom.p5.lexicon import Lexicon, train_lexicon
from fathom.p5.model import P5, P5Settings
from fathom.p5.moments import Moments
from fathom.p5.network import SHAPES, build
from fathom.p5.sentences import Sentences
from fathom.p5.templates import Family, families_of
from fathom.records import Catalog, Floats, Interactions
from fathom.training.processes import rows_at_once
from fathom.training.run import Run, noise_from
from fathom.training.supervised import FitReport, FitSettings, fit

READ_FOR_WORDS = 20_000
"""Lessons from which a tokenizer is learned."""


class P5Training(P5Settings):
    """What one P5 is, and how it is trained. One example of `fit.batch_size` is one lesson."""

    templates: tuple[str, ...] = ("rating", "sequential", "direct", "continuation")
    """Families that come with Fathom, or files of one's own."""
    sampling: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Family -> what it asks for -> lessons of an epoch: of each person for next, candidates and taken, of each event for the others.
    What is left out: 5, 5, 10 and 1."""
    candidates: int = Field(default=100, ge=2)
    """Items that an answer is chosen from where `${candidates}` names them."""
    candidate_titles: int = Field(default=20, ge=2)
    """The same of `${candidate_titles}`, which are longer."""
    answers_alike: bool = True
    """Every lesson counts as much as another in the loss, however long its answer is; otherwise every token does."""
    rows_at_once: int = Field(default=64, ge=1)
    """Lessons behind one pass through the network; larger batches are cut, which changes memory and nothing else."""
    fit: FitSettings = FitSettings(epochs=10, batch_size=64, learning_rate=1e-3, warmup_share=0.05, clip=1.0)
    """How long and how it learns."""

    @field_validator("sampling")
    @classmethod
    def _known_tasks(cls, value: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        for family, tasks in value.items():
            for task, count in tasks.items():
                if task not in SAMPLING:
                    raise ValueError(f"{family} asks for '{task}'{suggestion(task, SAMPLING)}")
                if count < 0:
                    raise ValueError(f"{family}: {count:g} lessons of '{task}' cannot be drawn: write 0 or more")
        return value


def train(
    log: Interactions,
    catalog: Catalog,
    *,
    vectors: Callable[[], Floats],
    settings: P5Training,
    run: Run,
    stage: str,
    validate: Callable[[P5], Validate] | None = None,
    told: Callable[[LessonPlan], None] | None = None,
    device: str | torch.device = "cpu",
) -> P5:
    """A P5 fitted to the training part `log`; an interrupted call goes on.

    `vectors()` (n_items + 1, d) are of the items' texts. `validate` is given the model while it learns, `told` the plan of its lessons.
    """
    families = families_of(settings.templates)
    for name in settings.sampling:
        if name not in families:
            raise ConfigError(f"sampling names the family '{name}'{suggestion(name, families)}")
    moments = Moments(log)
    ids = identifiers(Known(log, catalog, vectors), settings.identifiers)
    sentences = Sentences(catalog, ids, log.users, moments.scale, settings.sentences)
    lexicon = lexicon_of(settings, ids, families, moments, sentences)
    with noise_from(settings.fit.seed):
        network = build(settings.network, lexicon)
    model = P5(network, lexicon, sentences, P5Settings.model_validate(_shared(settings)), moments.features)
    network.to(device)
    plan = LessonPlan(
        families, moments, sentences, sampling=settings.sampling, candidates=settings.candidates, candidate_titles=settings.candidate_titles
    )
    if told is not None:
        told(plan)
    learn(model, plan, settings=settings, run=run, stage=stage, validate=None if validate is None else validate(model))
    return model


def learn(model: P5, plan: LessonPlan, *, settings: P5Training, run: Run, stage: str, validate: Validate | None = None) -> FitReport:
    """Fit the model's network in place; the loss of each family is logged beside that of all."""
    sums: dict[str, Tensor] = {}

    def batches(_: int, rng: np.random.Generator) -> LessonEpoch:
        lessons = plan.lessons(model.lexicon, rng, longest=settings.longest)
        return LessonEpoch(lessons, model.lexicon, batch_size=settings.fit.batch_size, longest=settings.longest, rng=rng)

    def loss(module: nn.Module, batch: LessonBatch) -> tuple[Tensor, Tensor]:
        assert module is model.network
        where = next(module.parameters()).device
        each, asked = model.network.losses(batch.source.to(where), batch.targets.to(where))
        means = each.sum(dim=1) / asked
        for family in dict.fromkeys(batch.families):
            own = torch.tensor([name == family for name in batch.families], device=where)
            told = torch.stack([means.detach()[own].sum(), own.sum()]).double().cpu()
            sums[family] = sums.get(family, torch.zeros(2, dtype=torch.float64)) + told
        if settings.answers_alike:
            return means.sum(), torch.tensor(float(len(means)), device=where)
        return each.sum(), asked.sum()

    def told(accelerator: Accelerator) -> Mapping[str, float]:
        everybody = torch.stack([sums.get(name, torch.zeros(2, dtype=torch.float64)) for name in plan.families])
        total: Tensor = accelerator.reduce(everybody.to(accelerator.device))
        sums.clear()
        pairs = zip(plan.families, total.tolist(), strict=True)
        return {f"loss/{name}": wrong / count for name, (wrong, count) in pairs if count}

    def pieces(batch: LessonBatch) -> list[LessonBatch]:
        return pieces_of(batch, rows_at_once(len(batch.families), settings.rows_at_once))

    return fit(
        model.network,
        batches=batches,
        loss=loss,
        settings=settings.fit,
        run=run,
        stage=stage,
        validate=validate,
        micro_batches=pieces,
        told=told,
    )


def lexicon_of(settings: P5Training, ids: Identifiers, families: Mapping[str, Family], moments: Moments, sentences: Sentences) -> Lexicon:
    """The tokenizer of a model of one's own, or one learned from lessons; with the ids' tokens."""
    if settings.network.model not in SHAPES:
        return Lexicon.load(settings.network.model, added=ids.added)
    few = min(settings.candidates, settings.candidate_titles, 10)  # their words are those of histories
    reader = LessonPlan(families, moments, sentences, sampling=settings.sampling, candidates=few, candidate_titles=few)
    texts = reader.texts(np.random.default_rng(settings.fit.seed))[:READ_FOR_WORDS]
    return train_lexicon(_words(texts), settings.network.vocabulary, added=ids.added)


def _words(said: Sequence[Said]) -> list[str]:
    return [part for one in said for part in (one.source, one.target)]


def _shared(settings: P5Training) -> dict[str, object]:
    """What of the settings belongs to the model itself."""
    return {name: getattr(settings, name) for name in P5Settings.model_fields}
