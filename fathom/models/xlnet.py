"""XLNet by four objectives (Transformers4Rec, RecSys 2021)."""

from pydantic import Field

from fathom.models.architecture import ArchitectureModel, ArchitectureSettings, MaskedSettings


class SmoothedSettings(MaskedSettings):
    """With the smoothing that the paper found to help."""

    smoothing: float = Field(default=0.2, ge=0, lt=1)
    """Label smoothing: this share of the target's weight is spread over all items."""


class XLNetCLM(ArchitectureModel[ArchitectureSettings]):
    """The next item after every event."""

    kind = "xlnet-clm"
    about = "XLNet, the next item after every event"
    block, objective = "xlnet", "clm"


class XLNetMLM(ArchitectureModel[SmoothedSettings]):
    """Masked items."""

    kind = "xlnet-mlm"
    about = "XLNet, masked items"
    block, objective = "xlnet", "mlm"


class XLNetPLM(ArchitectureModel[SmoothedSettings]):
    """Drawn spans in a drawn order."""

    kind = "xlnet-plm"
    about = "XLNet, items in a drawn order"
    block, objective = "xlnet", "plm"


class XLNetRTD(ArchitectureModel[SmoothedSettings]):
    """Masked items, and which events were replaced."""

    kind = "xlnet-rtd"
    about = "XLNet, masked items and which ones were replaced"
    block, objective = "xlnet", "rtd"
