"""Which problem sets the embedded dataset has, and the random seed of each."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from lightning_vista.mini.craft import CRAFT
from lightning_vista.mini.draft import Draft, World
from lightning_vista.mini.home import HOME

#: The worlds by name; a new one is added here.
WORLDS: dict[str, World] = {world.name: world for world in (HOME, CRAFT)}

#: The splits, each with its size relative to the test split.
SPLITS = {"train": 0.25, "val": 0.25, "test": 1.0}


@dataclass(frozen=True)
class Slot:
    """A place in the dataset that one problem set fills.

    Attributes:
        split: A name of `SPLITS`; their random seeds are disjoint.
        world: A name of `WORLDS`.
        type: The type folder.
        level: The number of steps.
        index: The number of the problem set among those of its type and level, without an upper limit: what lies
            beyond the dataset is fresh data of the same split.
    """

    split: str
    world: str
    type: str
    level: int
    index: int

    @property
    def id(self) -> str:
        """The problem set's id, different in different splits.

        Example:
            >>> Slot("test", "home", "remix", 3, 7).id
            'home/level_3/remix/test_07'
        """
        folder = "foundation" if self.level == 1 else f"level_{self.level}"
        folders = dict.fromkeys((self.world, folder, self.type))  # type `foundation` has no folder of its own
        return f"{'/'.join(folders)}/{self.split}_{self.index:02d}"

    @property
    def held_out(self) -> bool:
        """Whether it is about what occurs in no training video: each third problem set of the test split is."""
        return self.split == "test" and self.index % 3 == 2


def slots(splits: Iterable[str] = tuple(SPLITS), scale: float = 1.0) -> list[Slot]:
    """List the problem sets of the dataset.

    Args:
        splits: Names of `SPLITS`.
        scale: Multiplies the number of problem sets; at least one of each type and level remains.

    Returns:
        The slots of all worlds.

    Raises:
        ValueError: If a split is unknown or the scale is not a positive number.

    Example:
        >>> slots(["val"], scale=0.01)[0].id
        'home/foundation/objects/val_00'
    """
    splits = tuple(splits)
    unknown = [split for split in splits if split not in SPLITS]
    if unknown or not splits or len(set(splits)) < len(splits):
        raise ValueError(f"splits: expected some of {', '.join(SPLITS)}, each once, got {', '.join(splits) or 'none'}.")
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale: expected a number above 0, got {scale}: 1 is the full size, 0.1 a tenth of it.")
    return [
        Slot(split, world.name, type, level, index)
        for split in splits
        for world in WORLDS.values()
        for (type, level), count in world.counts.items()
        for index in range(max(1, round(count * SPLITS[split] * scale)))
    ]


def sample_draft(slot: Slot, seed: int = 0) -> Draft:
    """Make the problem set of a slot; it depends on nothing but the arguments.

    Args:
        slot: The place in the dataset.
        seed: The dataset's seed, at least 0.

    Returns:
        The problem set, its videos still episodes.

    Raises:
        ValueError: If the seed is negative, or the world has no such problem sets.

    Example:
        >>> draft = sample_draft(Slot("train", "home", "on_v_off", 1, index=123_456))
        >>> draft.episodes[0][1].frames().shape[1:]
        (96, 96, 3)
    """
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {seed}.")
    place = crc32(f"{slot.split}/{slot.world}/{slot.type}/{slot.level}".encode())
    rng = np.random.default_rng([seed, place, slot.index])
    return WORLDS[slot.world].sample(slot.type, slot.level, slot.held_out, rng)
