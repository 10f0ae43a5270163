"""Checker of the dataset: by the worlds' own state, every video shows its descriptions and no other of its set."""

from itertools import chain, permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_vista.mini.draft import Draft
from lightning_vista.mini.slots import sample_draft, slots
from lightning_vista.video import VideoError
from lightning_vista.video.decoding import decode_frames
from lightning_vista.vista.layout import read_problem_sets
from lightning_vista.vista.mini_state import STATE_FILE, read_state
from lightning_vista.vista.problem_sets import ProblemSet

_TILE = 12  # pixels
_LARGEST_ERROR = 32.0  # of a tile, in grey levels: compression stays below 25, and a missing robot gives over 100


def check_draft(draft: Draft) -> list[str]:
    """Replay every episode of a problem set, and compare its steps with all descriptions.

    A true description must name exactly the steps that happened, in their order. Several true descriptions must do so
    together, in some order. No other description may fit, even for a lenient viewer, who takes facing a thing in
    passing for going to it and ignores further steps in between.

    Args:
        draft: The problem set.

    Returns:
        One line for each fault; none if the problem set is correct.
    """
    faults = []
    for number, (labels, episode) in enumerate(draft.episodes):
        orders = permutations(draft.steps[label] for label in labels)
        if not any(episode.shows(tuple(chain.from_iterable(order))) for order in orders):
            texts = "; ".join(f"{label!r}: {draft.descriptions[label]}" for label in labels)
            faults.append(f"video {number} does not show its description {texts}")
        for label, steps in draft.steps.items():
            if label not in labels and episode.resembles(steps):
                text = draft.descriptions[label]
                faults.append(f"video {number} could be taken for description {label!r}: {text}")
    return faults


def check_mini(dataset_dir: str | Path) -> list[str]:
    """Check a built dataset: its descriptions and labels, its episodes, and its video files.

    Args:
        dataset_dir: Folder that `build_mini` wrote.

    Returns:
        One line for each fault, beginning with the problem set's id; none if the dataset is correct.

    Raises:
        DamagedFileError: If the folder's `mini.json` is damaged.
        FileNotFoundError: If the folder does not contain a complete dataset.
    """
    root = Path(dataset_dir)
    state = read_state(root) if (root / STATE_FILE).is_file() else {}
    if "totals" not in state:
        raise FileNotFoundError(f"`{root}`: expected a complete embedded dataset, got none. Build it there first.")
    settings = state["settings"]
    faults = []
    for split in settings["splits"]:
        written = {problem_set.id: problem_set for problem_set in read_problem_sets(root / split / "tasks")}
        for slot in slots([split], settings["scale"]):
            draft = sample_draft(slot, settings["seed"])
            found = check_draft(draft)
            expected = draft.problem_set(slot.id)
            if written.pop(slot.id, None) != expected:
                found.append("its YAML or JSON file is not what was built")
            found += _check_files(root / split / "videos", expected, draft)
            faults += [f"{slot.id}: {fault}" for fault in found]
        faults += [f"{id}: was not built here" for id in written]
    return faults


def _check_files(videos: Path, problem_set: ProblemSet, draft: Draft) -> list[str]:
    """Compare the mp4 files of a problem set with its episodes: each must look most like its own."""
    rendered = [episode.frames() for _, episode in draft.episodes]
    faults = []
    for number, video in enumerate(problem_set.videos):
        try:
            data = (videos / problem_set.video_key(video)).read_bytes()
            decoded = np.stack(decode_frames(data, lambda times: list(range(len(times)))).images)
        except (OSError, VideoError) as error:
            faults.append(f"{video.path} cannot be read: {error}")
            continue
        errors = [largest_error(decoded, frames) for frames in rendered]
        # Compression changes every file a little, but must not make it closer to another episode than to its own.
        if errors[number] > min(*errors, _LARGEST_ERROR):
            faults.append(f"{video.path} shows something else")
    return faults


def largest_error(decoded: NDArray[np.uint8], rendered: NDArray[np.uint8]) -> float:
    """Measure how much two videos differ at their most different tile.

    Args:
        decoded: Frames `(frames, height, width, 3)`, uint8, with sides divisible by 12.
        rendered: Frames of the same kind.

    Returns:
        The largest mean absolute difference over a tile of 12x12 pixels; infinite if the shapes are different.
    """
    if decoded.shape != rendered.shape:
        return float("inf")
    frames, height, width, _ = decoded.shape
    difference = np.maximum(decoded, rendered) - np.minimum(decoded, rendered)
    rows = difference.reshape(frames, height // _TILE, _TILE, width * 3).sum(2, dtype=np.uint16)
    tiles = rows.reshape(frames, height // _TILE, width // _TILE, _TILE * 3).sum(3, dtype=np.uint32)
    return float(tiles.max() / (_TILE * _TILE * 3))
