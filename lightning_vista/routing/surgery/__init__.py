"""Surgery: the addition of units to layers, and their removal."""

from lightning_vista.routing.surgery.branches import Branches, add_branch, cut_branch
from lightning_vista.routing.surgery.merging import merge_branch, merge_branches, pad_units, unplain_weights
from lightning_vista.routing.surgery.region_ablation import ablate_regions, replace_regions
from lightning_vista.routing.surgery.region_scaling import scale_named_regions, scale_parameters, tap_factors
from lightning_vista.routing.surgery.resizing_units import AblationMode, Init, ablate, expand, expand_at

__all__ = [
    "AblationMode",
    "Branches",
    "Init",
    "ablate",
    "ablate_regions",
    "add_branch",
    "cut_branch",
    "expand",
    "expand_at",
    "merge_branch",
    "merge_branches",
    "pad_units",
    "replace_regions",
    "scale_named_regions",
    "scale_parameters",
    "tap_factors",
    "unplain_weights",
]
