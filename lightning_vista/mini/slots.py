"""Slots of the embedded dataset, one for each problem set, with its random seed."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from lightning_vista.mini.craft import CRAFT
from lightning_vista.mini.draft import Draft, World
from lightning_vista.mini.home import HOME

#: The worlds by name; add a new one here.
WORLDS: dict[str, World] = {world.name: world for world in (HOME, CRAFT)}

#: The splits, each with its size relative to the test split.
SPLITS = {"train": 0.25, "val": 0.25, "test": 1.0}


@dataclass(frozen=True)
class Slot:
    """Slot in the dataset, which one problem set fills.

    Attributes:
        split: Name in `SPLITS`; the random seeds of splits are disjoint.
        world: Name in `WORLDS`.
        type: Type folder.
        level: Number of steps.
        index: Number of the problem set among those of its type and level. It has no upper limit: numbers beyond the
            dataset give new data of the same split.
    """

    split: str
    world: str
    type: str
    level: int
    index: int

    @property
    def id(self) -> str:
        """Id of the problem set, which differs between splits.

        Example:
            >>> Slot("test", "home", "remix", 3, 7).id
            'home/level_3/remix/test_07'
        """
        folder = "foundation" if self.level == 1 else f"level_{self.level}"
        folders = dict.fromkeys((self.world, folder, self.type))  # type `foundation` has no folder of its own
        return f"{'/'.join(folders)}/{self.split}_{self.index:02d}"

    @property
    def held_out(self) -> bool:
        """Mark of held-out problem sets, every third of the test split: their content is in no training video."""
        return self.split == "test" and self.index % 3 == 2


def slots(splits: Iterable[str] = tuple(SPLITS), scale: float = 1.0) -> list[Slot]:
    """List the problem sets of the dataset.

    Args:
        splits: Names in `SPLITS`.
        scale: Factor of the number of problem sets; at least one of each type and level remains.

    Returns:
        Slots of all worlds.

    Raises:
        ValueError: If a split is unknown or the scale is not a positive number.

    Example:
        >>> slots(["val"], scale=0.01)[0].id
        'home/foundation/objects/val_00'
    """
    splits = tuple(splits)
    unknown = [split for split in splits if split not in SPLITS]
    if unknown or not splits or len(set(splits)) < len(splits):
        raise ValueError(
            f"`splits`: expected some of {', '.join(SPLITS)}, each once, got {', '.join(splits) or 'none'}."
        )
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(
            f"`scale`: expected a number above 0, got {scale}. Use 1 for the full size, or 0.1 for a tenth."
        )
    return [
        Slot(split, world.name, type, level, index)
        for split in splits
        for world in WORLDS.values()
        for (type, level), count in world.counts.items()
        for index in range(max(1, round(count * SPLITS[split] * scale)))
    ]


def sample_draft(slot: Slot, seed: int = 0) -> Draft:
    """Make the problem set of a slot, which depends on the arguments only.

    Args:
        slot: Slot in the dataset.
        seed: Random seed of the dataset, at least 0.

    Returns:
        The problem set, with episodes in place of videos.

    Raises:
        ValueError: If the seed is negative, or the world does not have such problem sets.

    Example:
        >>> draft = sample_draft(Slot("train", "home", "on_v_off", 1, index=123_456))
        >>> draft.episodes[0][1].frames().shape[1:]
        (96, 96, 3)
    """
    if seed < 0:
        raise ValueError(f"`seed`: expected 0 or more, got {seed}.")
    place = crc32(f"{slot.split}/{slot.world}/{slot.type}/{slot.level}".encode())
    rng = np.random.default_rng([seed, place, slot.index])
    return WORLDS[slot.world].sample(slot.type, slot.level, slot.held_out, rng)
