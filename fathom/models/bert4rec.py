"""BERT4Rec (arXiv:1904.06690)."""

from typing import ClassVar

from fathom.models.architecture import ArchitectureModel, MaskedSettings
from fathom.models.searching import HIDING, SearchSpace


class BERT4Rec(ArchitectureModel[MaskedSettings]):
    """The cloze task: any masked event, read both ways."""

    kind = "bert4rec"
    about = "self-attention both ways, masked items"
    block, objective = "bert", "mlm"
    searched: ClassVar[SearchSpace] = ArchitectureModel.searched | HIDING
