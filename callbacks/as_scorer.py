"""Tells scorers from other modules."""

import sys
from typing import TYPE_CHECKING

import lightning as L

if TYPE_CHECKING:
    from lightning_vista.scorers import VLMScorer


def as_scorer(module: L.LightningModule) -> "VLMScorer | None":
    """The module if it is a scorer, else None.

    The class is not imported for that: it takes a second and the extra `vista`, and who has a scorer has both.
    """
    base = sys.modules.get("lightning_vista.scorers.base")
    return module if base is not None and isinstance(module, base.VLMScorer) else None
