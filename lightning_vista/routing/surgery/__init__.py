"""Surgery: units are added to layers and taken away again."""

from lightning_vista.routing.surgery.branches import Branches, add_branch, cut_branch
from lightning_vista.routing.surgery.resizing_units import ablate, expand

__all__ = ["Branches", "ablate", "add_branch", "cut_branch", "expand"]
