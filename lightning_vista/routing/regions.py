"""Regions: the named, disjoint parts of a layer's units that routes train separately."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

#: A slice ("0:16", "-64:"), one index ("3"), "rest", or a list of indices.
RegionSpec: TypeAlias = str | list[int]
REST = "rest"


@dataclass(frozen=True)
class Regions:
    """All units of a layer, divided into named regions.

    Attributes:
        size: The number of units.
        units: The units of each region; a `range` where they are consecutive.
    """

    size: int
    units: Mapping[str, Sequence[int]]

    @classmethod
    def parse(cls, specs: Mapping[str, RegionSpec], size: int) -> "Regions":
        """Resolve the specifications of regions.

        Args:
            specs: Name -> a slice such as "0:16" or "-64:", one index, a list of indices, or "rest", which stands for
                every unit in no other region.
            size: The number of units.

        Returns:
            The regions, in the order given.

        Raises:
            ValueError: If regions overlap, miss a unit, are empty, exceed the units, or cannot be read.

        Example:
            >>> Regions.parse({"low": "0:3", "high": "rest"}, size=8).units
            {'low': range(0, 3), 'high': range(3, 8)}
        """
        rests = [name for name, spec in specs.items() if spec == REST]
        if len(rests) > 1:
            raise ValueError(f"`regions`: expected at most one region to be {REST!r}, got {rests}. Write slices.")
        units = {name: [] if name in rests else _read(name, spec, size) for name, spec in specs.items()}
        owners: dict[int, str] = {}
        for name, indices in units.items():
            for unit in indices:
                if unit in owners:
                    whose = repr(name) if owners[unit] == name else f"{owners[unit]!r} and {name!r}"
                    raise ValueError(f"`regions`: expected disjoint regions, got unit {unit} twice, in {whose}.")
                owners[unit] = name
        missing = [unit for unit in range(size) if unit not in owners]
        if rests:
            units[rests[0]] = missing
        elif missing:
            raise ValueError(
                f"`regions`: expected regions that cover all {size} units, got {len(missing)} units in none, the first "
                f"of them {missing[0]}. Make one region {REST!r}."
            )
        if empty := [name for name, indices in units.items() if not indices]:
            raise ValueError(f"`regions`: expected at least one of {size} units in each region, got none in {empty}.")
        return cls(size, {name: _as_range(indices) for name, indices in units.items()})

    def entries(self, unit_size: int = 1) -> tuple[slice | list[int], ...]:
        """Return the index of each region in a tensor whose units are several entries wide.

        Args:
            unit_size: Consecutive entries of a unit, such as the width of an attention head.

        Returns:
            One index for each region: a slice where its units are consecutive, since slicing makes no copy.

        Example:
            >>> Regions.parse({"first": "0:2", "others": "rest"}, size=4).entries(unit_size=8)
            (slice(0, 16, None), slice(16, 32, None))
        """
        return tuple(_entries(units, unit_size) for units in self.units.values())


def _read(name: str, spec: RegionSpec, size: int) -> list[int]:
    """Return the units that one specification lists."""
    try:
        if isinstance(spec, str):
            # "3" is the slice from 3 to 4; an end that is missing or 0 is the size.
            bounds = [int(bound) if bound.strip() else None for bound in spec.split(":")]
            start, stop = bounds[0] or 0, bounds[-1] if len(bounds) > 1 else (bounds[0] or 0) + 1
            if len(bounds) > 2:
                raise ValueError("more than one colon")
            start, stop = (_from_front(bound, size) for bound in (start, size if stop is None else stop or size))
            indices = list(range(start, stop))
        else:
            indices = [_from_front(unit, size) for unit in spec]
    except ValueError as error:
        raise ValueError(
            f"`regions`: expected {name!r} to be a slice such as '0:16' or '-64:', a list of indices or {REST!r}, got "
            f"{spec!r}."
        ) from error
    if outside := [unit for unit in indices if not 0 <= unit < size]:
        raise ValueError(f"`regions`: expected {name!r} within {size} units, got {spec!r} with unit {outside[0]}.")
    return indices


def _from_front(unit: int, size: int) -> int:
    return unit + size if unit < 0 else unit


def _as_range(units: Sequence[int]) -> Sequence[int]:
    side_by_side = range(units[0], units[0] + len(units))
    return side_by_side if list(side_by_side) == list(units) else tuple(units)


def _entries(units: Sequence[int], unit_size: int) -> slice | list[int]:
    if isinstance(units, range):
        return slice(units.start * unit_size, units.stop * unit_size)
    return [unit * unit_size + offset for unit in units for offset in range(unit_size)]
