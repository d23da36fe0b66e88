"""The run folder of conversations: dialogues, what each part is answered from, and the language models that have read along."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import TypeAdapter, ValidationError

from fathom.conversation.assistant import Assistant, Order
from fathom.conversation.likely import Likelihoods, LikelyOrder
from fathom.conversation.replay import Heard, Listener, standing_after
from fathom.conversation.requests import Language
from fathom.conversation.shelves import WEIGHTS, Shelves
from fathom.conversation.state import START, Standing
from fathom.data.redial import Dialogue, Dialogues, RecommendationTurn, apart_from, folds_of, recommendation_turns
from fathom.errors import DataError
from fathom.files import written_aside
from fathom.items.embed import Remembering, cache_folder, item_vectors
from fathom.language.encoding import text_encoder
from fathom.models.item_knn import ItemKNN
from fathom.pipeline.asking.workshop import AskingWorkshop
from fathom.pipeline.conversation.recipe import ConversationRecipe
from fathom.records import Case, Floats, Interactions, Ints, Split, Utterance

if TYPE_CHECKING:
    from fathom.contracts import TextEncoder

ALL = "all"
"""The part that is learned from all dialogues: it serves."""

_DIALOGUES = TypeAdapter(tuple[tuple[Dialogue, ...], tuple[int, ...]])
_WEIGHTS = TypeAdapter(dict[str, dict[str, dict[str, float]]])


class ConversationWorkshop(AskingWorkshop):
    """Dialogues, and who listens to them. A part is named by the number of the fold that it answers, or `ALL`."""

    recipe: ConversationRecipe

    @property
    def dialogues_file(self) -> Path:
        """Where the dialogues are kept."""
        return self.folder("dialogues") / "dialogues.json"

    def keep_dialogues(self, dialogues: Dialogues) -> None:
        """Write them, whole or not at all."""
        with written_aside(self.dialogues_file) as aside:
            aside.write_bytes(_DIALOGUES.dump_json((dialogues.dialogues, tuple(dialogues.elsewhere.tolist()))))

    @cached_property
    def dialogues(self) -> Dialogues:
        """All of them."""
        dialogues, elsewhere = _DIALOGUES.validate_json(self.dialogues_file.read_bytes())
        return Dialogues(self.catalog, dialogues, np.array(elsewhere, dtype=np.int64))

    @cached_property
    def turns(self) -> list[RecommendationTurn]:
        """Every utterance that recommends something new, in the order of the dialogues."""
        return recommendation_turns(self.dialogues.dialogues)

    @cached_property
    def folds(self) -> list[int]:
        """The fold of each dialogue."""
        return folds_of(self.dialogues.dialogues, self.recipe.folds)

    @property
    def parts(self) -> list[str]:
        """Every part, `ALL` last."""
        return [*map(str, range(self.recipe.folds)), ALL]

    def weighing_fold(self, part: str) -> int:
        """From whose turns the part `part` learns its weights; nothing else of it is learned from them."""
        return (int(part) + 1) % self.recipe.folds

    def learnable(self, asked: Collection[int]) -> list[int]:
        """The places of the dialogues that may be learned from where the folds `asked` are asked about."""
        return apart_from(self.dialogues.dialogues, self.folds, asked)

    @cached_property
    def split(self) -> Split:
        """All dialogues as what is learned from, since every part is answered from others, and all turns as test cases."""
        rule = f"turns that recommend, {self.recipe.folds} folds"
        leaks = "A turn is answered from dialogues in which nobody who recommends in its fold has a part; those who ask may return."
        return Split(self.dataset.interactions, (), tuple(turn.case for turn in self.turns), rule, leaks)

    @cached_property
    def counts(self) -> Ints:
        """(n_items + 1,) how often each film is named elsewhere: in the whole data set, these dialogues left out."""
        return self.dialogues.elsewhere

    @cached_property
    def encoder(self) -> "TextEncoder":
        """Of titles and of what is asked for."""
        return Remembering(text_encoder(self.recipe.encoder), cache_folder())

    @cached_property
    def vectors(self) -> Floats:
        """(n_items + 1, d) unit text vectors, row 0 zero."""
        return item_vectors(self.catalog, self.encoder, cache_folder())

    @cached_property
    def _turn_of(self) -> Mapping[tuple[int, tuple[int, ...]], RecommendationTurn]:
        return {(turn.case.user, turn.case.history): turn for turn in self.turns}

    def said_before(self, case: Case) -> Sequence[Utterance]:
        """What was said before the turn of a case; nothing for a case of nobody's."""
        turn = self._turn_of.get((case.user, case.history))
        return () if turn is None else turn.said

    def part_of(self, case: Case) -> str:
        """The part that answers the case."""
        turn = self._turn_of.get((case.user, case.history))
        return ALL if turn is None else str(self.folds[turn.dialogue])

    @cached_property
    def standings(self) -> list[Standing]:
        """How things stand before each of `turns`."""
        language = Language(self.catalog)
        return [standing_after(turn.said, language) for turn in self.turns]

    def log(self, places: Sequence[int]) -> Interactions:
        """What is named in the dialogues at `places`."""
        kept, log = np.zeros(self.dataset.interactions.n_users, dtype=np.bool_), self.dataset.interactions
        kept[list(places)] = True
        lengths = np.diff(log.offsets)
        offsets = np.concatenate([[0], np.cumsum(lengths[kept])]).astype(np.int64)
        return Interactions(tuple(np.asarray(log.users)[kept].tolist()), offsets, log.items[np.repeat(kept, lengths)])

    @cache  # noqa: B019  a workshop lives as long as its process
    def shelves(self, *asked: int) -> Shelves:
        """The catalogue as the dialogues show it that may be learned from where the folds `asked` are asked about."""
        taken = ItemKNN.of(self.log(self.learnable(asked)), self.catalog.n_items)
        return Shelves(self.catalog, self.encoder, self.vectors, self.counts, taken=taken)

    @property
    def weights_file(self) -> Path:
        """Where the learned weights are."""
        return self.folder("weights") / "weights.json"

    @cached_property
    def weights(self) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
        """Part -> row -> signal -> weight."""
        return read_weights(self.weights_file)

    def listener(self, row: str) -> Listener:
        """Whoever answers for the row `row`, each turn from its part."""
        fixed = {"popularity": {"popularity": 1.0}, "text": {"words": 1.0, "profile": 1.0}, "by-hand": WEIGHTS}
        heard, shelves = {}, {part: self._weighed(row, part, fixed.get(row)) for part in self.parts}
        for turn, standing in zip(self.turns, self.standings, strict=True):
            part = str(self.folds[turn.dialogue])
            heard[turn.case.user, turn.case.history] = Heard(standing, shelves[part], filtered=row not in ("popularity", "text"))
        return Listener(heard, Heard(START, shelves[ALL]))

    def _weighed(self, row: str, part: str, fixed: Mapping[str, float] | None) -> Shelves:
        asked = () if part == ALL else (int(part),)
        return self.shelves(*asked).weighed(self.weights[part][row] if fixed is None else fixed)

    def language_folder(self, part: str) -> str:
        """The folder of the language model that has read what the part `part` may learn from."""
        return f"lm@{part}"

    def likelihoods(self, part: str) -> Likelihoods:
        """What that model says of titles."""
        from fathom.language.policy import LocalPolicy

        assert self.recipe.language is not None
        policy = LocalPolicy.load(self.folder(self.language_folder(part)), device=self.device)
        return Likelihoods(policy, self.catalog, tokens=self.recipe.language.windows.row)

    @property
    def mixing_file(self) -> Path:
        """Where it is kept what the language models' likelihoods count."""
        return self.folder("lm") / "weights.json"

    def order(self, part: str) -> LikelyOrder:
        """The part's language model as somebody who puts items in order."""
        [weights] = read_weights(self.mixing_file)[part].values()
        return LikelyOrder(self.likelihoods(part), scores=weights["scores"], likelihood=weights["likelihood"])

    def assistant(self, order: Order | None = None) -> Assistant:
        """Who serves: weights learned from all parts, and `order`, else the language model that has read everything, if any."""
        row = list(self.recipe.learned)[-1]
        if order is None and self.recipe.language is not None and self.mixing_file.is_file():
            order = self.order(ALL)
        return Assistant(self.shelves().weighed(self.weights[ALL][row]), order=order)


def read_weights(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Part -> row -> signal -> weight; a file of something else is a `DataError`."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; 'fathom run' with a recipe of conversations writes it")
    try:
        return _WEIGHTS.validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(f"{path}: not weights as Fathom writes them ({error.errors()[0]['msg']})") from error
