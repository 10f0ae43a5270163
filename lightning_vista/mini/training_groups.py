"""Problem sets of the train split without end, as tile codes: kilobytes each, kept on disk where that is wanted."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_vista.mini.draft import Draft
from lightning_vista.mini.home_episode import HomeEpisode
from lightning_vista.mini.slots import Slot, sample_draft
from lightning_vista.mini.steps import Step
from lightning_vista.video import sample_indices

#: How often each type is drawn, whatever the level; changes with what is learned.
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
#: Sets of different tasks take long to play when these are long, and tell little more.
_LONGEST_REMIX = 5
#: Problem sets in a chunk, which is made and stored as one.
CHUNK = 64
#: Frames before and after the end of a step that show it.
_AROUND = 2
#: The first problem set beyond the dataset itself.
_FIRST = 1_000_000
_VERSION = 2


@dataclass(frozen=True)
class TrainingGroup:
    """A problem set to train on.

    Attributes:
        level: The number of steps.
        texts: The descriptions.
        swapped: For each, a description of the same steps with two neighbours exchanged; empty if there is one step.
        answers: For each video, which description is true `(videos,)`.
        codes: Tile codes of the sampled frames `(videos, frames, 8, 8)`, uint8.
        steps: Which step each frame shows `(videos, frames)`, int8; -1 for none.
    """

    level: int
    texts: tuple[str, ...]
    swapped: tuple[str, ...]
    answers: NDArray[np.int64]
    codes: NDArray[np.uint8]
    steps: NDArray[np.int8]


def training_group(slot: Slot, num_frames: int, rng: np.random.Generator, seed: int = 0) -> TrainingGroup:
    """Make the problem set of a slot.

    Args:
        slot: A slot of the home world with one true description for each video.
        num_frames: How many frames of each video, evenly spaced.
        rng: Chooses which neighbours are exchanged.
        seed: The dataset's seed.

    Returns:
        The problem set.
    """
    draft = sample_draft(slot, seed)
    labels = list(draft.steps)
    codes, shown = [], []
    for (label, *_), episode in draft.episodes:
        if not isinstance(episode, HomeEpisode):
            raise ValueError(f"Training groups are made of the home world, got one of {slot.world!r}.")
        every = episode.codes()
        indices = sample_indices(len(every), num_frames)
        codes.append(every[indices])
        shown.append(_shown_steps(episode, draft.steps[label], indices))
    answers = np.array([labels.index(label) for (label, *_), _ in draft.episodes])
    swapped = tuple(_swapped(draft, steps, rng) for steps in draft.steps.values())
    texts = tuple(draft.descriptions.values())
    return TrainingGroup(slot.level, texts, swapped, answers, np.stack(codes), np.stack(shown))


def training_chunk(
    number: int, num_frames: int, seed: int = 0, cache_dir: str | Path | None = None
) -> list[TrainingGroup]:
    """The problem sets of a chunk, `CHUNK` of them: the same for equal arguments.

    Args:
        number: 0, 1, 2, ... without an upper limit.
        num_frames: How many frames of each video.
        seed: The dataset's seed.
        cache_dir: A folder to keep chunks in, or to find them; None for neither.

    Returns:
        The problem sets.
    """
    settings = json.dumps([_VERSION, CHUNK, num_frames, seed, dict(SHARES), _LONGEST_REMIX])
    key = hashlib.sha256(settings.encode()).hexdigest()[:8]
    path = None if cache_dir is None else Path(cache_dir) / f"groups-{key}-{number:05d}.npz"
    if path is not None and path.is_file():
        return _load(path)
    rng = np.random.default_rng([seed, number])
    groups = [
        training_group(_draw_slot(_FIRST + CHUNK * number + place, rng), num_frames, rng, seed)
        for place in range(CHUNK)
    ]
    if path is not None:
        _save(groups, path)
    return groups


def validation_groups(num_frames: int, slots: Sequence[Slot], seed: int = 0) -> list[TrainingGroup]:
    """The problem sets of some slots, such as those of the validation split.

    Args:
        num_frames: How many frames of each video.
        slots: Which.
        seed: The dataset's seed.

    Returns:
        The problem sets, in order.
    """
    return [training_group(slot, num_frames, np.random.default_rng(0), seed) for slot in slots]


def _draw_slot(index: int, rng: np.random.Generator) -> Slot:
    """A random slot of the train split."""
    type = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    longest = _LONGEST_REMIX if type == "remix" else 8
    level = int(rng.integers(2, longest + 1)) if type in ("remix", "permutation", "permutation_go_only") else 1
    return Slot("train", "home", type, level, index)


def _swapped(draft: Draft, steps: tuple[Step, ...], rng: np.random.Generator) -> str:
    """A description in which two neighbours of some steps are exchanged."""
    if len(steps) < 2:
        return ""
    place = int(rng.integers(len(steps) - 1))
    order = [*steps[:place], steps[place + 1], steps[place], *steps[place + 2 :]]
    return draft.wording(order)


def _shown_steps(episode: HomeEpisode, steps: Sequence[Step], indices: Sequence[int]) -> NDArray[np.int8]:
    """Which step each of some frames shows; -1 for none."""
    shown = np.full(len(indices), -1, np.int8)
    moments = {**episode.stops, **episode.changes}
    place = 0
    for frame in sorted(moments):
        if place < len(steps) and moments[frame] == steps[place]:
            shown[[abs(index - frame) <= _AROUND for index in indices]] = place
            place += 1
    return shown


def _save(groups: Sequence[TrainingGroup], path: Path) -> None:
    """Write groups in one go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = json.dumps([[group.level, group.texts, group.swapped] for group in groups])
    arrays = {
        f"{number}-{name}": getattr(group, name)
        for number, group in enumerate(groups)
        for name in ("answers", "codes", "steps")
    }
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        np.savez_compressed(file, texts=np.array(texts), **arrays)
    temporary.replace(path)


def _load(path: Path) -> list[TrainingGroup]:
    """Read groups that `_save` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return [
            TrainingGroup(
                level,
                tuple(texts),
                tuple(swapped),
                *(file[f"{number}-{name}"] for name in ("answers", "codes", "steps")),
            )
            for number, (level, texts, swapped) in enumerate(json.loads(str(file["texts"])))
        ]
