"""XLNet by four objectives (Transformers4Rec, RecSys 2021)."""

from typing import ClassVar

from fathom.models.architecture import ArchitectureModel, ArchitectureSettings, MaskedSettings, PermutedSettings, ReplacedSettings
from fathom.models.searching import HIDING, SearchSpace
from fathom.networks.heads import NextItemSettings
from fathom.settings import Settings


class SmoothedSettings(Settings):
    """With the label smoothing that the paper found to help."""

    next_item: NextItemSettings = NextItemSettings(smoothing=0.2)
    """How items are scored, and how the true one is set against the others."""


class XLNetMaskedSettings(SmoothedSettings, MaskedSettings):
    """What masks, with label smoothing."""


class XLNetPermutedSettings(SmoothedSettings, PermutedSettings):
    """What draws an order, with label smoothing."""


class XLNetReplacedSettings(SmoothedSettings, ReplacedSettings):
    """What replaces, with label smoothing."""


class XLNetCLM(ArchitectureModel[ArchitectureSettings]):
    """The next item after every event."""

    kind = "xlnet-clm"
    about = "XLNet, the next item after every event"
    block, objective = "xlnet", "clm"


class XLNetMLM(ArchitectureModel[XLNetMaskedSettings]):
    """Masked items."""

    kind = "xlnet-mlm"
    about = "XLNet, masked items"
    block, objective = "xlnet", "mlm"
    searched: ClassVar[SearchSpace] = ArchitectureModel.searched | HIDING


class XLNetPLM(ArchitectureModel[XLNetPermutedSettings]):
    """Drawn spans in a drawn order."""

    kind = "xlnet-plm"
    about = "XLNet, items in a drawn order"
    block, objective = "xlnet", "plm"
    searched: ClassVar[SearchSpace] = ArchitectureModel.searched | HIDING


class XLNetRTD(ArchitectureModel[XLNetReplacedSettings]):
    """Masked items, and which events were replaced."""

    kind = "xlnet-rtd"
    about = "XLNet, masked items and which ones were replaced"
    block, objective = "xlnet", "rtd"
    searched: ClassVar[SearchSpace] = ArchitectureModel.searched | HIDING
