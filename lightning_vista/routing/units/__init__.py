"""Units: the parameters that make and read the entries of a routed tensor."""

from lightning_vista.routing.units.finding import find_units, unit_group
from lightning_vista.routing.units.group import ParameterSlice, UnitGroup, UnknownStructureError
from lightning_vista.routing.units.hidden import Hidden

__all__ = ["Hidden", "ParameterSlice", "UnitGroup", "UnknownStructureError", "find_units", "unit_group"]
