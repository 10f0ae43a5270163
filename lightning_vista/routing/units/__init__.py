"""Which parameters make and read the units of a layer."""

from lightning_vista.routing.units.finding import unit_group
from lightning_vista.routing.units.group import ParameterSlice, UnitGroup, UnknownStructureError

__all__ = ["ParameterSlice", "UnitGroup", "UnknownStructureError", "unit_group"]
