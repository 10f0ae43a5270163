"""Which parameters make and read the units of a layer."""

from lightning_vista.routing.units.finding import find_units, unit_group
from lightning_vista.routing.units.group import ParameterSlice, UnitGroup, UnknownStructureError

__all__ = ["ParameterSlice", "UnitGroup", "UnknownStructureError", "find_units", "unit_group"]
