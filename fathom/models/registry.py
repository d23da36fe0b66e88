"""The named models. A new one is a file beside this one and a line in `MODELS`."""

import re
from collections.abc import Mapping

from fathom.models.afm import AFM
from fathom.models.attrec import AttRec
from fathom.models.bert4rec import BERT4Rec
from fathom.models.bm25 import BM25
from fathom.models.ease import EASE
from fathom.models.factors import ALS, BPR
from fathom.models.gru4rec import GRU4Rec
from fathom.models.item_knn import ItemKNN
from fathom.models.model import AnyModel
from fathom.models.narm import NARM
from fathom.models.popularity import Popularity
from fathom.models.prod2vec import Prod2Vec
from fathom.models.sasrec import GSASRec, PlainSASRec, SASRecPlus
from fathom.models.sasrec_text import SASRecText
from fathom.models.session_knn import STAN, VSTAN, VSkNN
from fathom.models.ssept import SSEPT
from fathom.models.text import Text
from fathom.models.transformers4rec import Transformers4Rec
from fathom.models.xlnet import XLNetCLM, XLNetMLM, XLNetPLM, XLNetRTD

MODELS: Mapping[str, type[AnyModel]] = {
    model.kind: model
    for model in (
        Popularity,
        BM25,
        Text,
        ItemKNN,
        EASE,
        ALS,
        BPR,
        Prod2Vec,
        VSkNN,
        STAN,
        VSTAN,
        AFM,
        GRU4Rec,
        NARM,
        AttRec,
        BERT4Rec,
        XLNetCLM,
        XLNetMLM,
        XLNetPLM,
        XLNetRTD,
        Transformers4Rec,
        PlainSASRec,
        GSASRec,
        SASRecText,
        SSEPT,
        SASRecPlus,
    )
}
"""Name in recipes -> model, in the order of tables."""


def model_of(name: str) -> type[AnyModel]:
    """The model that a recipe calls `name`: as in `MODELS`, or that and, behind an underscore, a word of the recipe's own.

    >>> model_of("item-knn_near").kind
    'item-knn'
    """
    return MODELS[re.sub(r"_[A-Za-z0-9-]+$", "", name)]
