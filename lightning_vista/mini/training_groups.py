"""Endless problem sets of the train split for training, as tile codes of kilobytes each, with an optional cache."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_vista.files.own_files import read_cached, write_cached
from lightning_vista.mini.craft_episode import CraftEpisode
from lightning_vista.mini.draft import Draft
from lightning_vista.mini.home_episode import HomeEpisode
from lightning_vista.mini.slots import Slot, sample_draft
from lightning_vista.mini.steps import Step
from lightning_vista.video import sample_indices

#: Share of each type among the drawn problem sets of the home world, independent of the level.
SHARES: Mapping[str, float] = {
    "objects": 0.06,
    "on_v_off": 0.05,
    "open_v_closed": 0.05,
    "pick_v_put": 0.07,
    "toggle": 0.04,
    "opening_v_closing": 0.05,
    "remix": 0.12,
    "permutation": 0.23,
    "permutation_go_only": 0.33,
}
#: The same for the craft world, whose level 1 has several true descriptions of a video and is left out.
CRAFT_SHARES: Mapping[str, float] = {"remix": 0.5, "permutation": 0.25, "permutation_go_only": 0.25}
#: Highest level of the craft world.
_CRAFT_LEVELS = 3
#: Highest level of sets of different tasks: longer ones take long to play, and teach little more.
_LONGEST_REMIX = 5
_SHARES = {"home": SHARES, "craft": CRAFT_SHARES}
#: Types whose problem sets have at least two steps; the others have one.
_SEQUENTIAL = ("remix", "permutation", "permutation_go_only")
#: Number of problem sets in a chunk, which is made and stored as one.
CHUNK = 64
#: Number of frames before and after the end of a step that show it.
_AROUND = 2
#: Index of the first problem set, beyond those of the dataset itself.
_FIRST = 1_000_000
_VERSION = 3


@dataclass(frozen=True)
class TrainingGroup:
    """Problem set for training.

    Attributes:
        type: World and type folder of the problem set, such as `home/remix`.
        level: Number of steps.
        texts: Descriptions.
        swapped: Description of the same steps with two neighbours exchanged, for each text; empty for a single step.
        answers: Index of the true description of each video `(videos,)`.
        codes: Tile codes of the sampled frames `(videos, frames, 8, 8)`, uint8; in the craft world, which has none, RGB
            frames `(videos, frames, 108, 108, 3)`.
        steps: Index of the step that each frame shows `(videos, frames)`, int8; -1 for none.
    """

    type: str
    level: int
    texts: tuple[str, ...]
    swapped: tuple[str, ...]
    answers: NDArray[np.int64]
    codes: NDArray[np.uint8]
    steps: NDArray[np.int8]


def training_group(slot: Slot, num_frames: int, rng: np.random.Generator, seed: int = 0) -> TrainingGroup:
    """Make the problem set of a slot.

    Args:
        slot: Slot with one true description for each video.
        num_frames: Number of evenly spaced frames of each video.
        rng: Random generator of the exchanges of neighbours.
        seed: Random seed of the dataset.

    Returns:
        The problem set.

    Raises:
        ValueError: If a video of the slot has several true descriptions.
    """
    draft = sample_draft(slot, seed)
    labels = list(draft.steps)
    codes, shown = [], []
    for (label, *others), episode in draft.episodes:
        if others or not isinstance(episode, HomeEpisode | CraftEpisode):
            raise ValueError(f"`slot`: expected one true description for each video, got several in {slot.id!r}.")
        if isinstance(episode, HomeEpisode):
            every = episode.codes()
            indices = sample_indices(len(every), num_frames)
            codes.append(every[indices])
        else:  # drawing takes long, so only what is sampled
            indices = sample_indices(len(episode.actions) + 1, num_frames)
            codes.append(episode.frames_at(indices))
        shown.append(_shown_steps(episode, draft.steps[label], indices))
    answers = np.array([labels.index(label) for (label, *_), _ in draft.episodes])
    swapped = tuple(_swapped(draft, steps, rng) for steps in draft.steps.values())
    texts = tuple(draft.descriptions.values())
    return TrainingGroup(
        f"{slot.world}/{slot.type}", slot.level, texts, swapped, answers, np.stack(codes), np.stack(shown)
    )


def training_chunk(
    number: int, num_frames: int, seed: int = 0, cache_dir: str | Path | None = None, world: str = "home"
) -> list[TrainingGroup]:
    """Make or load the `CHUNK` problem sets of a chunk, which are the same for equal arguments.

    Args:
        number: Number of the chunk: 0, 1, 2, ... without an upper limit.
        num_frames: Number of frames of each video.
        seed: Random seed of the dataset.
        cache_dir: Folder that keeps chunks; None for none.
        world: Name of the world.

    Returns:
        The problem sets.
    """
    settings = json.dumps([_VERSION, CHUNK, num_frames, seed, dict(_SHARES[world]), _LONGEST_REMIX])
    key = hashlib.sha256(settings.encode()).hexdigest()[:8]
    path = None if cache_dir is None else Path(cache_dir) / f"groups-{key}-{number:05d}.npz"
    cached = None if path is None else read_cached(path)
    if cached is not None:
        return _load(cached)
    rng = np.random.default_rng([seed, number])
    groups = [
        training_group(_draw_slot(world, _FIRST + CHUNK * number + place, rng), num_frames, rng, seed)
        for place in range(CHUNK)
    ]
    if path is not None:
        _save(groups, path)
    return groups


def validation_groups(
    num_frames: int, slots: Sequence[Slot], seed: int = 0, cache_dir: str | Path | None = None
) -> list[TrainingGroup]:
    """Make or load the problem sets of slots, such as those of the validation split.

    Args:
        num_frames: Number of frames of each video.
        slots: Slots of the problem sets.
        seed: Random seed of the dataset.
        cache_dir: Folder that keeps them; None for none.

    Returns:
        The problem sets, in order.
    """
    key = hashlib.sha256(json.dumps([_VERSION, num_frames, seed, [slot.id for slot in slots]]).encode()).hexdigest()
    path = None if cache_dir is None else Path(cache_dir) / f"slots-{key[:8]}.npz"
    cached = None if path is None else read_cached(path)
    if cached is not None:
        return _load(cached)
    groups = [training_group(slot, num_frames, np.random.default_rng(0), seed) for slot in slots]
    if path is not None:
        _save(groups, path)
    return groups


def _draw_slot(world: str, index: int, rng: np.random.Generator) -> Slot:
    """Draw a random slot of the train split."""
    shares = _SHARES[world]
    type = str(rng.choice(list(shares), p=list(shares.values())))
    longest = _CRAFT_LEVELS if world == "craft" else _LONGEST_REMIX if type == "remix" else 8
    level = int(rng.integers(2, longest + 1)) if type in _SEQUENTIAL else 1
    return Slot("train", world, type, level, index)


def training_types(world: str, max_level: int) -> list[str]:
    """Return the types of the problem sets of a world, such as `home/remix`.

    Args:
        world: Name of the world; those of all worlds for another name.
        max_level: Highest number of steps.
    """
    worlds = [world] if world in _SHARES else list(_SHARES)
    return [f"{name}/{type}" for name in worlds for type in _SHARES[name] if max_level > 1 or type not in _SEQUENTIAL]


def _swapped(draft: Draft, steps: tuple[Step, ...], rng: np.random.Generator) -> str:
    """Return a description of steps with two neighbours exchanged."""
    if len(steps) < 2:
        return ""
    place = int(rng.integers(len(steps) - 1))
    order = [*steps[:place], steps[place + 1], steps[place], *steps[place + 2 :]]
    return draft.wording(order)


def _shown_steps(
    episode: HomeEpisode | CraftEpisode, steps: Sequence[Step], indices: Sequence[int]
) -> NDArray[np.int8]:
    """Return the index of the step that each frame shows; -1 for none."""
    shown = np.full(len(indices), -1, np.int8)
    # A change at the frame of a stop is what the video shows there.
    moments = {**episode.stops, **episode.changes}
    place = 0
    for frame in sorted(moments):
        if place < len(steps) and moments[frame] == steps[place]:
            shown[[abs(index - frame) <= _AROUND for index in indices]] = place
            place += 1
    return shown


def _save(groups: Sequence[TrainingGroup], path: Path) -> None:
    """Write groups to the cache."""
    texts = json.dumps([[group.type, group.level, group.texts, group.swapped] for group in groups])
    arrays = {
        f"{number}-{name}": getattr(group, name)
        for number, group in enumerate(groups)
        for name in ("answers", "codes", "steps")
    }
    content = io.BytesIO()
    np.savez_compressed(content, texts=np.array(texts), **arrays)
    write_cached(path, content.getvalue())


def _load(content: bytes) -> list[TrainingGroup]:
    """Return the groups that `_save` wrote."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return [
            TrainingGroup(
                type,
                level,
                tuple(texts),
                tuple(swapped),
                *(file[f"{number}-{name}"] for name in ("answers", "codes", "steps")),
            )
            for number, (type, level, texts, swapped) in enumerate(json.loads(str(file["texts"])))
        ]
