"""A few videos beside the scores, so that a report can show what the judge saw."""

import json
from collections import defaultdict
from pathlib import Path

import torch

from lightning_vista.video import FrameSpec, decode_video, encode_mp4
from lightning_vista.video.encoding import decode_jpeg
from lightning_vista.vista.index import Sample, ShardError, ShardIndex
from lightning_vista.vista.samples import read_members
from lightning_vista.vista.storage import Storage

MAX_EXAMPLES = 20
#: Larger videos are shown smaller and shorter, so that a page with all of them stays small.
_MAX_BYTES = 100_000
_SMALL = FrameSpec(num_frames=32, size=160)


def write_examples(run_folder: Path, index: ShardIndex, storage: Storage) -> None:
    """Write at most 20 small videos and `examples.json` into `<run folder>/examples`.

    The videos are spread over the kinds and levels, the same ones for every scorer. Damaged ones are left out: the
    score table names them.

    Args:
        run_folder: The folder of the run.
        index: The shards, with what is selected of them.
        storage: Where the shards are.
    """
    folder = run_folder / "examples"
    folder.mkdir(exist_ok=True)
    descriptions = {problem_set.id: dict(problem_set.descriptions) for problem_set in index.problem_sets}
    examples = []
    for sample in _choose(index):
        try:
            video = _small_video(read_members(storage, sample))
        except ShardError:
            continue
        name = f"{sample.key}.mp4"
        (folder / name).write_bytes(video)
        for membership in sample.memberships:
            id = membership.problem_set
            examples.append({"video": sample.video, "file": name, "problem_set": id, "descriptions": descriptions[id]})
    text = json.dumps(examples, indent=1, ensure_ascii=False) + "\n"
    (folder / "examples.json").write_text(text, encoding="utf-8")


def _choose(index: ShardIndex) -> list[Sample]:
    """Samples in turns from every (environment, kind, level), each cell's own spread over its problem sets."""
    cell_of = {p.id: (p.kind, p.level, p.environment) for p in index.problem_sets}
    cells: dict[tuple[str, int, str], list[Sample]] = defaultdict(list)
    for sample in index.samples:
        cells[cell_of[sample.memberships[0].problem_set]].append(sample)
    # Every other cell first, so that few examples still span the levels of every kind.
    order = [cells[cell] for cell in sorted(cells)]
    order = order[::2] + order[1::2]
    rounds = max((len(cell) for cell in order), default=0)
    turns = [cell[(number * 7) % len(cell)] for number in range(rounds) for cell in order if number < len(cell)]
    return list(dict.fromkeys(turns))[:MAX_EXAMPLES]


def _small_video(members: dict[str, bytes]) -> bytes:
    """The sample as a small mp4 file."""
    if "mp4" in members:
        if len(members["mp4"]) <= _MAX_BYTES:
            return members["mp4"]
        frames = decode_video(members["mp4"], _SMALL).frames
    else:
        frames = torch.stack([decode_jpeg(members[name]) for name in sorted(members) if name.endswith("jpg")])
    height, width = (size - size % 2 for size in frames.shape[2:])
    return encode_mp4(frames[:, :, :height, :width].permute(0, 2, 3, 1).numpy(), fps=4, crf=28)
